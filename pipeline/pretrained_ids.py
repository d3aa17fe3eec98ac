"""Names of the weights that a run starts from: hashes that go into its config, and the tokenizer that belongs to them.

Needs no torch: plans are made with it. `pipeline.training.pretrained` loads what is named here.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from pipeline.config import ExecutionConfig, RunConfig, replace_at
from sharedris.baselines.config import DUAL_ENCODER
from sharedris.errors import InputError

DUAL_WEIGHTS, DUAL_VOCABULARY = "weights.safetensors", "vocab.txt"
"""What `sharedris import-dual` writes into its folder."""


def is_dual(config: RunConfig) -> bool:
    """Return whether the run has Swin and BERT in BEiT-3's place."""
    return config.model.system.encoder == DUAL_ENCODER


def named_by_its_weights(config: RunConfig, execution: ExecutionConfig) -> RunConfig:
    """Return the config with the hash of what its encoder starts from: BEiT-3's file is none for Swin and BERT.

    Raises:
        InputError: when the folder of `import-dual` cannot be read.
    """
    if not is_dual(config):
        return config
    folder = execution.dual_weights
    named: RunConfig = replace_at(
        config, "train.encoder_weights_sha256", None if folder is None else dual_sha256(Path(folder))
    )
    return named


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
            raise InputError(f"{folder} has no {path.name}", "Give the folder that `sharedris import-dual` wrote")
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
        raise InputError(f"{path} cannot be read: {error.strerror}", "Give the path of a BEiT-3 checkpoint") from None
