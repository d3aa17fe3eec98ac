"""The outline of a mask."""

from __future__ import annotations

import numpy as np


def outline(mask_HW: np.ndarray, width: int = 1) -> np.ndarray:
    """Return the pixels of a mask that touch its outside, `width` pixels thick."""
    inner = mask_HW.copy()
    for _ in range(width):
        padded = np.pad(inner, 1, constant_values=False)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask_HW & ~inner
