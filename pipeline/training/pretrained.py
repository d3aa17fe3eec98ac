"""Which weights a run starts from: those that its config names by their hash, or random ones from the seed."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from pipeline.job import Job
from pipeline.pretrained_ids import DUAL_WEIGHTS, dual_sha256, file_sha256, is_dual
from sharedris.errors import InputError
from sharedris.registry import ENCODERS, resolve

log = logging.getLogger(__name__)


def load_initial_weights(model: nn.Module, job: Job) -> None:
    """Load the encoder that the configuration names by its SHA-256; say so where it is random.

    Raises:
        InputError: when the file is not the one that the configuration was hashed with.
    """
    expected, dual = job.config.train.encoder_weights_sha256, is_dual(job.config)
    option = "--dual-weights" if dual else "--encoder-weights"
    if expected is None:
        log.info("%s: encoder starts from random weights (no %s)", job.run_id, option)
        return
    path = job.execution.dual_weights if dual else job.execution.encoder_weights
    if path is None or (dual_sha256 if dual else file_sha256)(Path(path)) != expected:
        raise InputError(f"{option} {path} is not what has the SHA-256 {expected[:12]}", "Give what the run began with")
    load = ENCODERS[job.config.model.system.encoder].load_weights
    if load is None:
        raise InputError(f"encoder {job.config.model.system.encoder!r} loads no weights", f"Leave out {option}")
    resolve(load)(model, Path(path) / DUAL_WEIGHTS if dual else Path(path))
