"""Keeps the working folders below a size: what the store has is removed here, the longest unused first.

Nothing is removed while another process of this machine uses the folder, nor what the store does not have.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from pipeline.object_store.index import Index, stamp_of
from pipeline.object_store.layout import LARGE, place_of
from sharedris.errors import InputError

_USERS = ".users"
_DEFAULT_GIB = 20.0


def limit_bytes() -> int:
    """Return how large a working folder may stay when a command ends: SHAREDRIS_CACHE_GIB, or 20 GiB.

    Raises:
        InputError: for a value that is not a size.
    """
    text = os.environ.get("SHAREDRIS_CACHE_GIB", str(_DEFAULT_GIB))
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < 2**20:
            return int(float(text) * 2**30)
    raise InputError(f"SHAREDRIS_CACHE_GIB={text} is not a number of GiB", "Unset it, or set 20")


@contextlib.contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Mark a working folder as used by this process, and bring it below the limit when the block ends."""
    limit = limit_bytes()
    marker = root / _USERS / f"{os.getpid()}-{psutil.Process().create_time():.0f}"
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)
        if not _is_used(root):
            trim(root, limit)


def _is_used(root: Path) -> bool:
    """Return whether a living process uses the folder; markers of ended ones are removed."""
    used = False
    for marker in (root / _USERS).glob("*-*"):
        process, _, started = marker.name.partition("-")
        try:
            alive = f"{psutil.Process(int(process)).create_time():.0f}" == started
        except (psutil.Error, ValueError):
            alive = False
        if alive:
            used = True
        else:
            marker.unlink(missing_ok=True)
    return used


def trim(root: Path, limit: int) -> int:
    """Remove samples, models, maps and checkpoints that the store has, until at most `limit` bytes are left.

    Returns:
        The bytes that were removed.
    """
    removed = 0
    with Index(root).changed() as entries:
        sizes = {path: path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
        excess = sum(sizes.values()) - limit
        large = [key for key in entries if (place := place_of(key)) is not None and place.kind in LARGE]
        for key in sorted(large, key=lambda name: _last_used(root / name)):
            if removed >= excess:
                break
            path = root / key
            if stamp_of(path) == entries[key].stamp:  # the same is in the store
                removed += entries.pop(key).stamp[0]
                path.unlink(missing_ok=True)
    return removed


def _last_used(path: Path) -> float:
    try:
        return max(path.stat().st_atime, path.stat().st_mtime)
    except OSError:
        return 0.0


def remove_unused_workers(root: Path) -> None:
    """Remove the working folders that workers of other runs have left on this node, killed or failed.

    Args:
        root: of this run's workers; its neighbors are looked at.
    """
    for other in root.parent.glob("*"):
        if other != root and not _is_used(other):
            shutil.rmtree(other, ignore_errors=True)
