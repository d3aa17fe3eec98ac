"""The SHA-256 of predictions: by it the same command knows that there is nothing to do."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.predictions.mask_folder import names_in
from sharedris.errors import InputError
from sharedris.regular_file import open_regular

_CHUNK = 8 << 20


def predictions_digest(path: Path) -> str:
    """Return 64 hex digits of a file, or of the names and contents of a folder's files.

    Raises:
        InputError: when something cannot be read or is not a regular file.
    """
    if not path.is_dir():
        return _file_digest(path)
    digest = hashlib.sha256()
    for name in names_in(path):
        if not (path / name).is_dir():
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(_file_digest(path / name)))
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open_regular(path) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Check the disk") from None
    return digest.hexdigest()
