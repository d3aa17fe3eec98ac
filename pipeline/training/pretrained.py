"""Which weights a run starts from: those that its config names by their hash, or random ones from the seed."""

from __future__ import annotations

import logging

from torch import nn

from pipeline.job import Job
from pipeline.pretrained_ids import DUAL_WEIGHTS, is_dual, weights_option, weights_path, weights_sha256
from sharedris.errors import InputError
from sharedris.registry import ENCODERS, resolve

log = logging.getLogger(__name__)


def load_initial_weights(model: nn.Module, job: Job) -> None:
    """Load the encoder that the configuration names by its SHA-256; say so where it is random.

    Raises:
        InputError: when the file is not the one that the configuration was hashed with.
    """
    expected, option = job.config.train.encoder_weights_sha256, weights_option(job.config)
    if expected is None:
        log.info("%s: encoder starts from random weights (no %s)", job.run_id, option)
        return
    path = weights_path(job.config, job.execution)
    if path is None or weights_sha256(job.config, path) != expected:
        raise InputError(f"{option} {path} is not what has the SHA-256 {expected[:12]}", "Give what the run began with")
    load = ENCODERS[job.config.model.system.encoder].load_weights
    assert load is not None, "resolve_job refuses weights of an encoder that loads none"
    resolve(load)(model, path / DUAL_WEIGHTS if is_dual(job.config) else path)
