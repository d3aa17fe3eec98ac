"""Read masks written as compressed COCO run lengths, with numpy alone.

The counts are runs of 0 and 1 in turn, down the columns; each number is 5 bits to a letter, lowest first, and from the
third on it is the change against the run two before.
"""

from __future__ import annotations

import numpy as np


def decode_mask(counts: bytes, height: int, width: int) -> np.ndarray:
    """Return the mask as bool (height, width).

    Raises:
        ValueError: when the runs do not fill the mask.
    """
    runs = run_lengths(counts)
    if sum(runs) != height * width:
        raise ValueError(f"run lengths of {sum(runs)} pixels for a mask of {height} x {width}")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def run_lengths(counts: bytes) -> list[int]:
    """Return the runs of 0 and 1 that a compressed COCO string holds."""
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        code = letter - 48
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def outline(mask_HW: np.ndarray, width: int = 1) -> np.ndarray:
    """Return the pixels of a mask that touch its outside, `width` pixels thick."""
    inner = mask_HW.copy()
    for _ in range(width):
        padded = np.pad(inner, 1, constant_values=False)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask_HW & ~inner
