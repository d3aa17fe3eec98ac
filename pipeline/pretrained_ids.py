"""Names of the weights that a run starts from: hashes that go into its config, and the tokenizer that belongs to them.

Needs no torch: plans are made with it. `pipeline.training.pretrained` loads what is named here.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from pipeline.config import ExecutionConfig, RunConfig, replace_at
from sharedris.baselines.config import DEFAULT_ENCODER, DUAL_ENCODER
from sharedris.errors import InputError
from sharedris.registry import ENCODERS

DUAL_WEIGHTS, DUAL_VOCABULARY = "weights.safetensors", "vocab.txt"
"""What `sharedris import dual` writes into its folder."""


def is_dual(config: RunConfig) -> bool:
    """Return whether the run has Swin and BERT in BEiT-3's place."""
    return config.model.system.encoder == DUAL_ENCODER


def named_by_its_weights(config: RunConfig, execution: ExecutionConfig) -> RunConfig:
    """Return the config with the hash of what its encoder starts from: BEiT-3's file is not one of another encoder.

    Raises:
        InputError: when the file or the folder cannot be read, or the encoder loads no weights.
    """
    encoder, path = config.model.system.encoder, weights_path(config, execution)
    if encoder == DEFAULT_ENCODER:
        return config
    if path is not None and ENCODERS[encoder].load_weights is None:
        raise InputError(f"encoder {encoder!r} loads no weights", f"Leave out {weights_option(config)}")
    named: RunConfig = replace_at(
        config, "train.encoder_weights_sha256", None if path is None else weights_sha256(config, path)
    )
    return named


def weights_path(config: RunConfig, execution: ExecutionConfig) -> Path | None:
    """Return the file or folder that the run's encoder starts from; None for random weights."""
    encoder = config.model.system.encoder
    given = {DEFAULT_ENCODER: execution.encoder_weights, DUAL_ENCODER: execution.dual_weights}
    path = given[encoder] if encoder in given else dict(execution.weights).get(encoder)
    return None if path is None else Path(path)


def weights_option(config: RunConfig) -> str:
    """Return the option that names the weights of the run's encoder."""
    encoder = config.model.system.encoder
    options = {DEFAULT_ENCODER: "--encoder-weights", DUAL_ENCODER: "--dual-weights"}
    return options.get(encoder, f"--weights {encoder}=FILE")


def weights_sha256(config: RunConfig, path: Path) -> str:
    """Return the SHA-256 of the weights of the run's encoder.

    Raises:
        InputError: when they cannot be read.
    """
    return dual_sha256(path) if is_dual(config) else file_sha256(path)


def own_tokenizer(config: RunConfig, execution: ExecutionConfig) -> Path | None:
    """Return the tokenizer that a run's weights were trained with; None where it is that of the data."""
    folder = execution.dual_weights
    if folder is None or not is_dual(config):
        return None
    return Path(folder) / DUAL_VOCABULARY


def dual_sha256(folder: Path) -> str:
    """Return the SHA-256 of a folder that `import-dual` wrote: that of its files' own.

    Raises:
        InputError: when a file cannot be read.
    """
    digests = []
    for path in (folder / DUAL_WEIGHTS, folder / DUAL_VOCABULARY):
        if not path.is_file():
            raise InputError(f"{folder} has no {path.name}", "Give the folder that `sharedris import dual` wrote")
        digests.append(_unchanged_sha256(path, path.stat().st_mtime_ns))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


@functools.lru_cache(maxsize=8)
def _unchanged_sha256(path: Path, modified_ns: int) -> str:
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Give the path of a checkpoint") from None
