"""Open only what is an ordinary file: a pipe or a device of the same name would wait or never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from sharedris.errors import InputError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class UnreadableFileError(InputError):
    """A file that is not read; `reason` is the message without the path, `missing` is true where nothing is there."""

    def __init__(self, path: Path | str, reason: str, remedy: str, *, missing: bool = False) -> None:
        self.reason, self.missing = reason, missing
        super().__init__(f"{path} {reason}", remedy)


def open_regular(path: Path, *, most_bytes: int | None = None, root: Path | None = None) -> BinaryIO:
    """Open an ordinary file for reading.

    The check is made on the open file, so that nothing can be exchanged between check and use.

    Args:
        path: a file, or a symbolic link to one.
        most_bytes: the largest size that is read.
        root: folder that the file must lie in after its links are followed; None for any place.

    Raises:
        UnreadableFileError: for a pipe, a socket, a device, a folder, a file that is too large, lies outside the root
            or cannot be opened.
    """
    try:
        # Without O_NONBLOCK the open itself would wait for somebody who writes into a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:  # ValueError: a zero byte or half a surrogate pair in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        missing = isinstance(error, FileNotFoundError)
        raise UnreadableFileError(path, f"cannot be read: {reason}", "Check the path", missing=missing) from None
    try:
        status = os.fstat(descriptor)
        _require_regular(path, status, most_bytes)
        if root is not None:
            _require_inside(path, root, status)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, *, most_bytes: int, root: Path | None = None) -> bytes:
    """Return the content of an ordinary file.

    Raises:
        UnreadableFileError: as `open_regular`, or when reading fails.
    """
    try:
        with open_regular(path, most_bytes=most_bytes, root=root) as stream:
            return stream.read()
    except OSError as error:
        raise UnreadableFileError(path, f"cannot be read: {error.strerror}", "Check the disk") from None


def _require_regular(path: Path, status: os.stat_result, most_bytes: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a special file")
        raise UnreadableFileError(
            path, f"is not a regular file but {kind}", "Give a file, not a folder, pipe or device"
        )
    if most_bytes is not None and status.st_size > most_bytes:
        raise UnreadableFileError(
            path, f"has {status.st_size} bytes, more than the {most_bytes} that are read", "Check what the file is"
        )


def _require_inside(path: Path, root: Path, status: os.stat_result) -> None:
    """Compare the place after all links with the opened file, so that a link changed meanwhile is noticed."""
    real, real_root = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, real_root]) != real_root or not os.path.samestat(Path(real).stat(), status):
        raise UnreadableFileError(
            path,
            f"is a link to a file outside its folder {root}",
            "Put the file itself there, or give the folder that it lies in with --images",
        )
