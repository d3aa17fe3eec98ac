"""Boundary IoU (Cheng et al., CVPR 2021): the IoU of what lies within a distance of the outlines of two masks.

IoU of large objects hardly sees their outline, since the inside has nearly all pixels. The distance is 0.02 of the
image's diagonal, as in the authors' code (bowenc0221/boundary-iou-api): pixels that a square of this distance around
them does not leave are the inside, and beyond the image's border there is background.

Shapes: H, W image; h, w the part of it that holds both masks.
"""

from __future__ import annotations

import numpy as np

RATIO = 0.02


def boundary_iou(mask_HW: np.ndarray, target_HW: np.ndarray) -> float:
    """Return the boundary IoU of two bool masks of one image; 1 where both are empty."""
    both_HW = mask_HW | target_HW
    rows, columns = np.flatnonzero(both_HW.any(axis=1)), np.flatnonzero(both_HW.any(axis=0))
    if not len(rows):
        return 1.0
    # Around both masks there is background as beyond the image, so the rest of it changes nothing.
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    distance = boundary_distance(*mask_HW.shape)
    boundary_hw, target_boundary_hw = boundary(mask_HW[part], distance), boundary(target_HW[part], distance)
    union = np.count_nonzero(boundary_hw | target_boundary_hw)
    return np.count_nonzero(boundary_hw & target_boundary_hw) / union


def boundary_distance(height: int, width: int) -> int:
    """Return the distance in pixels, at least 1, for an image of this size."""
    return max(1, round(RATIO * float(np.hypot(height, width))))


def boundary(mask_hw: np.ndarray, distance: int) -> np.ndarray:
    """Return the pixels of a bool mask from which a square of `distance` to each side leaves it, bool [h, w]."""
    from scipy.ndimage import minimum_filter  # here: every command imports the metrics

    inside_hw = minimum_filter(mask_hw.view(np.uint8), size=2 * distance + 1, mode="constant", cval=0)
    return mask_hw & (inside_hw == 0)
