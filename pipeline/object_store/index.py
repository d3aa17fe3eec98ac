"""What a working folder knows of the store: for each key the version there, and the file here when both were the same.

    ROOT/.mirror.json      key -> [version, size, time of change of the file]

A file that is not as the index has it was written here since, and a key whose file is gone was removed here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pipeline.files import read_json, write_json

Stamp = tuple[int, int]
"""Size and time of change (nanoseconds) of a file."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The version in the store and the stamp of the file here that was the same."""

    e_tag: str
    stamp: Stamp


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
                e_tag, size, changed = value
                entries[key] = Entry(e_tag=str(e_tag), stamp=(int(size), int(changed)))
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
                    rows = {key: [entry.e_tag, *entry.stamp] for key, entry in entries.items()}
                    write_json(self._path, rows)


def stamp_of(path: Path) -> Stamp | None:
    """Return the stamp of a file, or None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
