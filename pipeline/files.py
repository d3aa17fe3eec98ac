"""Files that are whole or not there, and names that survive a crash of the writer."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sharedris.errors import InputError

_COMPONENT_BYTES = 200
"""Longest name of a file or folder of ours; most file systems allow 255, and suffixes are added to it."""


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a neighbour of `path` for writing and put it in its place when the block ends without an error.

    Raises:
        OSError: that names `path` where there is no space, which the system finds at a write and names no file for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        if is_out_of_space(error):
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def write_file(path: Path, content: bytes) -> None:
    """Write a file below a folder that is made where it is missing.

    Raises:
        OSError: that names the file, also where the system names none: a full disk is found at the write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder whose files move into `folder` when the block ends without an error.

    Raises:
        InputError: where a file cannot be written; `folder` is then as it was.
    """
    staging = folder / f".{uuid.uuid4().hex[:8]}.partial"
    try:
        staging.mkdir(parents=True)
        yield staging
        for path in sorted(path for path in staging.rglob("*") if path.is_file()):
            target = folder / path.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    except OSError as error:
        named = str(error.filename)
        if not is_out_of_space(error) and not named.startswith(str(folder)):
            raise
        raise _unwritten(error, named.replace(f"{staging}{os.sep}", f"{folder}{os.sep}")) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unwritten(error: OSError, path: str) -> InputError:
    if is_out_of_space(error):
        return InputError(f"disk full: {path} could not be written", "Free some space; the same command writes all")
    return InputError(f"{path} cannot be written: {error.strerror}", "Move away what is in its place")


def write_json(path: Path, values: Any) -> None:
    """Write values as JSON in one step."""
    with atomic_writer(path) as stream:
        stream.write(json.dumps(values, indent=1, sort_keys=True).encode())


def read_json(path: Path) -> Any | None:
    """Return what `write_json` wrote, or None where there is no readable file."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):  # no JSON, or no text at all
        return None


def remove_partials(folder: Path, is_ours: Callable[[str], bool] = lambda _: True) -> None:
    """Remove what writers that were killed left in a folder; only for a folder whose lease we hold."""
    for partial in folder.glob(".*.partial"):
        if is_ours(partial.name):
            partial.unlink(missing_ok=True)


def safe_component(name: str, what: str) -> str:
    """Return a name that is one component of a path: no folder above, no separator, nothing that a terminal obeys.

    Raises:
        InputError: for any other name; `what` is the kind of thing it names.
    """
    plain = name.isprintable() and not set(name) & set("/\\") and name.strip() == name
    if not plain or name in ("", ".", "..") or name.startswith("-") or len(os.fsencode(name)) > _COMPONENT_BYTES:
        raise InputError(f"{name!r} cannot name a {what}", "Use letters, digits, and _ - + . inside the name")
    return name


def is_out_of_space(error: OSError) -> bool:
    """Return whether a file system, a quota or a limit on the size of files had no room."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def require_writable(folder: Path, option: str) -> None:
    """Refuse a folder in which nothing can be written, before hours are spent; makes and leaves nothing.

    Raises:
        InputError: naming the option.
    """
    existing = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}", f"Set {option} to another place") from None
