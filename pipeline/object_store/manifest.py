"""The manifest of a checkpoint: its size and the SHA-256 that its writer computed while it wrote, written last.

STATE/checkpoint-EPOCH-STEP.pt      counts only with its manifest
STATE/checkpoint-EPOCH-STEP.json    {"sha256", "bytes"}
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from pipeline.files import read_json


def is_checkpoint(key: str) -> bool:
    """Return whether a key, or the path of a file, is of a checkpoint and not of its manifest."""
    name = PurePosixPath(key).name
    return name.startswith("checkpoint-") and name.endswith(".pt")


def checkpoint_of(key: str) -> str | None:
    """Return the key of the checkpoint that a manifest names; None for the key of any other file."""
    name = PurePosixPath(key).name
    is_manifest = name.startswith("checkpoint-") and name.endswith(".json")
    return key.removesuffix(".json") + ".pt" if is_manifest else None


def manifest_of(key: str) -> str:
    """Return the key of the manifest of a checkpoint."""
    return key.removesuffix(".pt") + ".json"


def is_unfinished(path: Path) -> bool:
    """Return whether a file is a checkpoint whose manifest is not there: its writer is at work, or was killed."""
    return is_checkpoint(path.name) and not path.with_suffix(".json").exists()


def written_digest(path: Path) -> str | None:
    """Return the SHA-256 that the writer of a checkpoint computed; None for other files, and for another size."""
    if not is_checkpoint(path.name):
        return None
    values = read_json(path.with_suffix(".json"))
    if not isinstance(values, dict) or values.get("bytes") != path.stat().st_size:
        return None
    digest = values.get("sha256")
    return digest if isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) else None
