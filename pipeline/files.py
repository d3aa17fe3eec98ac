"""Files that are whole or not there, and names that survive a crash of the writer."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a neighbour of `path` for writing and put it in its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def write_json(path: Path, values: Any) -> None:
    """Write values as JSON in one step."""
    with atomic_writer(path) as stream:
        stream.write(json.dumps(values, indent=1, sort_keys=True).encode())


def read_json(path: Path) -> Any | None:
    """Return what `write_json` wrote, or None where there is no readable file."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # no JSON, or no text at all
        return None


def remove_partials(folder: Path, is_ours: Callable[[str], bool] = lambda _: True) -> None:
    """Remove what writers that were killed left in a folder; only for a folder whose lease we hold."""
    for partial in folder.glob(".*.partial"):
        if is_ours(partial.name):
            partial.unlink(missing_ok=True)


def runs_folder(text: str) -> Path:
    """Return the root of the runs from a command line.

    Raises:
        ArgumentTypeError: for a URI: leases are file locks, which an object store has not.
    """
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is no folder: mount the store, and name where (docs/cluster.md)")
    return Path(text)
