"""Whether a table on disk is intact: a damaged one counts as missing, and the next run replaces it."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import pyarrow as pa

from pipeline.records import DamagedTableError, RecordError, read_table

log = logging.getLogger(__name__)


def is_intact(path: Path, schema: pa.Schema) -> bool:
    """Whether the file is there and its content is what was written.

    A file of another schema version counts as intact, as does one that may not be read: its content may be whole, and
    hours of training must not be repeated over it. A file is read again only when it has changed, so a live table may
    ask once per second.
    """
    return path.exists() and _damage(path, schema, *_state_of(path)) is None


def warn_if_damaged(path: Path, schema: pa.Schema) -> None:
    """Log one line for a damaged file, once per process."""
    if path.exists():
        _warn_once(path, schema, *_state_of(path))


def _state_of(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is replaced or written over."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=4096)
def _damage(path: Path, schema: pa.Schema, *state: int) -> str | None:
    try:
        read_table(path, schema)
    except DamagedTableError as error:
        return error.message
    except RecordError:
        return None
    return None


@functools.lru_cache(maxsize=4096)
def _warn_once(path: Path, schema: pa.Schema, *state: int) -> None:
    if (damage := _damage(path, schema, *state)) is not None:
        log.warning("%s. It counts as missing, and the next run replaces it", damage)
