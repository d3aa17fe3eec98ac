"""A run's checkpoints: atomic, verified, pruned.

    RUNS/state/RUN/checkpoint-EPOCH-STEP.pt     all that the next step depends on
    RUNS/state/RUN/checkpoint-EPOCH-STEP.json   its size and SHA-256, written last: without it the file does not count

They are our own files and not Ray's, so that a run continues the same way under Ray Train, under Tune and in a plain
process, and so that a damaged one can be told and passed over.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import torch

from pipeline.files import atomic_writer, read_json, remove_partials, write_json
from pipeline.object_store.index import verified_on_arrival

log = logging.getLogger(__name__)

KEPT = 2
"""The newest, and the one before it for the case that the newest is damaged."""


def save(folder: Path, state: dict[str, Any], *, epoch: int, step: int) -> Path:
    """Write a checkpoint in one step and prune older ones.

    Raises:
        OSError: disk full or read-only; the checkpoints before it are intact.
    """
    path = path_of(folder, epoch=epoch, step=step)
    path.with_suffix(".json").unlink(missing_ok=True)  # of one of the same name: no digest may be of another file
    with atomic_writer(path) as stream:
        hashed = _HashedStream(stream)
        torch.save(state, hashed)  # type: ignore[arg-type]  # it needs `write` and `flush` only
    try:
        write_json(path.with_suffix(".json"), {"sha256": hashed.sha256, "bytes": path.stat().st_size})
    except OSError:
        path.unlink(missing_ok=True)  # it does not count, and its space is what is missing
        raise
    prune(folder)
    return path


class _HashedStream:
    """Hashes what is written: `torch.save` writes from front to back, so that the file need not be read again."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self._hash = stream, hashlib.sha256()

    def write(self, part: bytes) -> int:
        """Write and hash a part."""
        self._hash.update(part)
        return self.stream.write(part)

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()

    @property
    def sha256(self) -> str:
        """The digest of all that was written."""
        return self._hash.hexdigest()


def path_of(folder: Path, *, epoch: int, step: int) -> Path:
    """Return where the checkpoint of so many finished epochs and steps lies."""
    return folder / f"checkpoint-{epoch:05d}-{step:09d}.pt"


def newest_name(folder: Path) -> str | None:
    """Return the file name of the newest checkpoint that is whole, or None."""
    paths = sorted(folder.glob("checkpoint-*.pt"), reverse=True)
    return next((path.name for path in paths if is_whole(path)), None)


def is_whole(path: Path) -> bool:
    """Return whether a checkpoint is there and has the digest of its manifest.

    It is hashed, unless a process of this node that still lives has verified it when it brought it from a store.
    """
    manifest = read_json(path.with_suffix(".json"))
    try:
        if not isinstance(manifest, dict) or manifest.get("bytes") != path.stat().st_size:
            return False
        return bool(manifest.get("sha256") == (verified_on_arrival(path) or _sha256(path)))
    except FileNotFoundError:
        return False


def load(path: Path) -> dict[str, Any]:
    """Read one checkpoint onto the CPU; it holds tensors and plain values, no code."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_newest(folder: Path, *, content_hash: str) -> dict[str, Any] | None:
    """Return the newest checkpoint that is whole and belongs to this content hash, or None.

    Each skipped checkpoint is logged, since it costs the user an epoch.
    """
    paths = sorted(folder.glob("checkpoint-*.pt"), reverse=True)
    for path in paths:
        if not path.with_suffix(".json").exists():
            log.warning("skipped %s: its writer was interrupted", path.name)
        elif not is_whole(path):
            log.warning("skipped %s: it is damaged (size or SHA-256 differ)", path.name)
        else:
            try:
                state = load(path)
            except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
                log.warning("skipped %s: %s", path.name, str(error).splitlines()[0])
                continue
            if state["content_hash"] == content_hash:
                return state
            log.warning("skipped %s: it belongs to another configuration (%s)", path.name, state["content_hash"])
    if paths:
        log.warning("no checkpoint is left to resume from: training starts at its first step")
    return None


def prune(folder: Path) -> None:
    """Remove all but the newest checkpoints, with half-written files and manifests that lost their checkpoint."""
    whole = sorted(path for path in folder.glob("checkpoint-*.pt") if path.with_suffix(".json").exists())
    newest = whole[-1] if whole else None
    for path in whole[:-KEPT]:
        path.unlink()
        path.with_suffix(".json").unlink()
    for path in folder.glob("checkpoint-*.pt"):
        if newest is not None and path < newest and not path.with_suffix(".json").exists():
            path.unlink()
    for manifest in folder.glob("checkpoint-*.json"):
        if not manifest.with_suffix(".pt").exists():
            manifest.unlink()
    # Of killed writers. Other files of this folder are being written while a checkpoint is.
    remove_partials(folder, lambda name: name.startswith(".checkpoint-"))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
