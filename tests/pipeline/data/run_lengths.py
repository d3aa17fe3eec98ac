"""Uncompressed COCO run lengths of a mask, by a way of the tests' own."""

from __future__ import annotations

import numpy as np


def run_lengths(mask_HW: np.ndarray) -> list[int]:
    """Return the runs of background and object in turn, column by column, background first."""
    pixels = np.concatenate(([0], np.asarray(mask_HW != 0, dtype=np.int8).ravel(order="F")))
    ends = [*np.flatnonzero(np.diff(pixels)).tolist(), pixels.size - 1]
    return [int(length) for length in np.diff([0, *ends])]


def compressed(runs: list[int]) -> bytes:
    """Return any whole numbers as compressed counts; pycocotools writes past its memory for some that fit no image."""
    letters = bytearray()
    for position, run in enumerate(runs):
        value, more = run - (runs[position - 2] if position > 2 else 0), True
        while more:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            letters.append(48 + digit + 32 * more)
    return bytes(letters)
