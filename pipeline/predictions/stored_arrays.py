"""Masks as NumPy files. Headers are checked before any value is read, and nothing in a file is unpickled."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from pipeline.data.masks import MaskError
from sharedris.pixels import MAX_PIXELS

_HEADER_READERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


def mask_of_npy(content: bytes) -> np.ndarray:
    """Return mask_HW, bool, of a `.npy` file: bool, or uint8 whose values are 0, 1 or 255.

    Raises:
        MaskError: for a file that is damaged, is not such an array, or holds objects.
    """
    return _read(io.BytesIO(content), len(content))


def masks_of_npz(stream: IO[bytes]) -> Iterator[tuple[str, np.ndarray | MaskError]]:
    """Yield (name, mask_HW) of each array of a `.npz` file, or what is wrong with it.

    Raises:
        MaskError: for a file that is not a readable archive.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                try:
                    with archive.open(entry) as member:
                        yield name, _read(member, entry.file_size)
                except MaskError as error:
                    yield name, error
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        if isinstance(error, MaskError):
            raise
        raise MaskError(" ".join(str(error).split()) or type(error).__name__) from None


def _read(stream: IO[bytes], length: int) -> np.ndarray:
    """Read one array; its size is known from the header, so that a small file cannot ask for much memory."""
    try:
        version = npy_format.read_magic(stream)
        if version not in _HEADER_READERS:
            raise MaskError(f"it is .npy of version {version}")
        shape, by_column, kind = _HEADER_READERS[version](stream)
    except MaskError:
        raise
    except Exception as error:  # a damaged header raises nearly any type
        raise MaskError(f"it is not .npy: {' '.join(str(error).split())[:80]}") from None
    if kind not in (np.dtype(bool), np.dtype(np.uint8)):
        raise MaskError(f"it is {kind}, not bool or uint8")
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS:
        raise MaskError(f"its shape is {shape}, not that of a mask")
    pixels = shape[0] * shape[1]
    content = stream.read(pixels + 1) if length >= pixels else b""
    if len(content) != pixels:
        raise MaskError(f"it does not hold the {pixels} bytes of its shape {shape}")
    values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_column else "C")
    if kind == np.uint8 and not np.isin(values, (0, 1, 255)).all():
        raise MaskError("it has other values than 0, 1 and 255")
    return values != 0
