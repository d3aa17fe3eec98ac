"""Which weights a run starts from: BEiT-3's, named by their hash, or random ones from the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from torch import nn

from pipeline.job import Job
from sharedris.errors import InputError


def load_initial_weights(model: nn.Module, job: Job, say: Callable[[str], None]) -> None:
    """Load the encoder that the configuration names by its SHA-256; say so where it is random.

    Raises:
        InputError: when the file is not the one that the configuration was hashed with.
    """
    expected = job.config.train.encoder_weights_sha256
    if expected is None:
        say(f"{job.run_id}: encoder starts from random weights (no --encoder-weights)")
        return
    path = job.execution.encoder_weights
    if path is None or file_sha256(Path(path)) != expected:
        raise InputError(f"encoder weights {path} are not the file with SHA-256 {expected[:12]}", "Give that file")
    from sharedris.beit3 import load_beit3

    load_beit3(model, path)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Give the path of a BEiT-3 checkpoint") from None
