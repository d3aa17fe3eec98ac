"""Open only what is an ordinary file: a pipe or a device of the same name would wait or never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from sharedris.errors import InputError


def open_regular(path: Path, *, most_bytes: int | None = None) -> BinaryIO:
    """Open an ordinary file for reading.

    The check is made on the open file, so that nothing can be exchanged between check and use.

    Args:
        path: a file, or a symbolic link to one.
        most_bytes: the largest size that is read.

    Raises:
        InputError: for a pipe, a socket, a device, a folder, a file that is too large or one that cannot be opened.
    """
    try:
        # Without O_NONBLOCK the open itself would wait for somebody who writes into a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a zero byte or half a surrogate pair in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path} cannot be read: {reason}", "Check the path") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a regular file", "Give a file, not a folder, pipe or device")
    if most_bytes is not None and found.st_size > most_bytes:
        os.close(descriptor)
        raise InputError(
            f"{path} has {found.st_size} bytes, more than the {most_bytes} that are read", "Check what the file is"
        )
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, *, most_bytes: int) -> bytes:
    """Return the content of an ordinary file.

    Raises:
        InputError: as `open_regular`, or when reading fails.
    """
    try:
        with open_regular(path, most_bytes=most_bytes) as stream:
            return stream.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Check the disk") from None
