"""Masks at the model's input size. Images are decoded and resized by `sharedris.pixels` and `sharedris.image_input`.

Shapes: H, W the original size, S the input size.
"""

from __future__ import annotations

import functools

import numpy as np


def resize_mask(mask_HW: np.ndarray, size: int) -> np.ndarray:
    """Return mask_SS, resized to the nearest pixel centre, pixel for pixel as Pillow's NEAREST does."""
    height, width = mask_HW.shape
    # pycocotools stores masks column by column: taking columns first reads memory in order.
    columns_WH = mask_HW.T.take(_nearest(width, size), axis=0)
    return np.ascontiguousarray(columns_WH.T).take(_nearest(height, size), axis=0)


@functools.lru_cache(maxsize=4096)
def _nearest(length: int, size: int) -> np.ndarray:
    """Return the source index of each of `size` pixels; summed step by step to round ties as Pillow does."""
    steps = np.full(size, length / size)
    steps[0] /= 2
    return np.cumsum(steps).astype(np.intp)
