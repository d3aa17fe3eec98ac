"""Masks made small for a page: a coarse grid, and its run lengths as bytes.

A mask is first reduced to a grid whose longer side is `side`, then written as the lengths of its runs, column by
column, starting with background. A length is a variable-length integer, seven bits a byte, the lowest first; the count
of runs comes first. Shapes: H, W the image; h, w the grid.
"""

from __future__ import annotations

import numpy as np


def grid_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Return (h, w) of the grid of an image: its longer side is `side`, or the image's where that is shorter."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink(mask_HW: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the mask at the centers of a grid's cells, bool (h, w); what is not empty keeps one cell at least."""
    height, width = mask_HW.shape
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(int)
    small_hw = mask_HW[np.ix_(rows, columns)].astype(bool)
    if not small_hw.any() and mask_HW.any():
        row, column = (int(places.mean()) for places in np.nonzero(mask_HW))
        small_hw[row * size[0] // height, column * size[1] // width] = True
    return small_hw


def run_lengths(mask_hw: np.ndarray) -> bytes:
    """Return the runs of a small mask as bytes; a mask without a run of the object has the count 0."""
    flat = np.concatenate([[False], mask_hw.T.ravel(), [False]])
    places = np.flatnonzero(flat[1:] != flat[:-1])
    lengths = np.diff(places, prepend=0)
    if len(lengths) < 0x80 and lengths.max(initial=0) < 0x80:  # most masks: each number is one byte
        return bytes([len(lengths), *lengths.tolist()])
    return b"".join(_variable_length(int(number)) for number in (len(lengths), *lengths))


def _variable_length(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
