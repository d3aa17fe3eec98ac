"""What a working folder knows of the store: for each key the version there, and the file here when both were the same.

    ROOT/.mirror.json      key -> [version, size, time of change of the file, and of a checkpoint that was brought its
                           SHA-256, and process and start of who verified it]

A file that is not as the index has it was written here since, and a key whose file is gone was removed here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from pipeline.files import read_json, write_json

Stamp = tuple[int, int]
"""Size and time of change (nanoseconds) of a file."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """The SHA-256 of what was brought, which a process has verified; its start tells it from a later one."""

    sha256: str
    process: int
    started: float


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The version in the store, the stamp of the file here that was the same, and how it was verified on arrival."""

    e_tag: str
    stamp: Stamp
    arrival: Arrival | None = None


class Index:
    """The index of a working folder, which several processes of this machine change.

    Args:
        root: of the working folder.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / ".mirror.json"
        self._lock = FileLock(root / ".mirror.lock")

    def read(self) -> dict[str, Entry]:
        """Return all entries; a damaged file counts as empty, so that everything is compared again."""
        values = read_json(self._path)
        entries = {}
        for key, value in (values if isinstance(values, dict) else {}).items():
            with contextlib.suppress(TypeError, ValueError):
                e_tag, size, changed, *more = value
                arrival = _arrival(*more) if more else None
                entries[key] = Entry(e_tag=str(e_tag), stamp=(int(size), int(changed)), arrival=arrival)
        return entries

    @contextlib.contextmanager
    def changed(self) -> Iterator[dict[str, Entry]]:
        """Yield the entries for a change, and write them when the block ends, whatever ends it."""
        with self._lock:
            entries = self.read()
            before = dict(entries)
            try:
                yield entries
            finally:
                if entries != before:
                    rows = {key: _row(entry) for key, entry in entries.items()}
                    write_json(self._path, rows)


def _row(entry: Entry) -> list[Any]:
    arrival = entry.arrival
    verified = [] if arrival is None else [arrival.sha256, arrival.process, arrival.started]
    return [entry.e_tag, *entry.stamp, *verified]


def _arrival(sha256: str, process: int, started: float) -> Arrival:
    return Arrival(sha256=str(sha256), process=int(process), started=float(started))


def arrival_here(sha256: str) -> Arrival:
    """Return that this process has verified what it brought."""
    return Arrival(sha256=sha256, process=os.getpid(), started=psutil.Process().create_time())


def verified_on_arrival(path: Path) -> str | None:
    """Return the SHA-256 that a file of a run's state was verified with when it was brought from a store.

    It counts as long as the file is unchanged and the process that verified it lives: not from one start of the
    workers to the next, since disks go bad. None in a plain folder, and for what was written here.
    """
    root = path.parent.parent.parent
    entry = Index(root).read().get(path.relative_to(root).as_posix())
    if entry is None or entry.arrival is None or entry.stamp != stamp_of(path):
        return None
    try:
        lives = abs(psutil.Process(entry.arrival.process).create_time() - entry.arrival.started) < 1.0
    except (psutil.Error, ValueError, OverflowError):
        return None
    return entry.arrival.sha256 if lives else None


def stamp_of(path: Path) -> Stamp | None:
    """Return the stamp of a file, or None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
