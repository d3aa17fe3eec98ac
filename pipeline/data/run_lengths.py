"""Masks compared as run lengths, without decoding their pixels: a hundred times faster, and exact.

pycocotools trusts the counts that it merges: runs that are too long, or too many, make it write past its memory. So
counts from a file pass `filled_counts` first, which reads the runs with numpy and brings them into one canonical form.
"""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.data.masks import MaskError, read_runs
from sharedris.pixels import MAX_PIXELS


def filled_counts(counts: bytes, *, height: int, width: int) -> bytes:
    """Return compressed RLE counts of a mask of exactly this size, in the form that pycocotools itself writes.

    Equal masks give equal bytes.

    Raises:
        MaskError: for a size out of bounds, damaged counts, and counts of another number of pixels.
    """
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        raise MaskError(f"a mask of {height} x {width} pixels is out of bounds")
    if not counts:
        raise MaskError("RLE counts are damaged")
    runs = _checked(read_runs(counts), height * width)
    if len(runs) > 1 and runs[1:].min() == 0:
        return _compressed(_without_empty_runs(runs), height, width)
    rewritten: bytes = coco_mask.merge([{"size": [height, width], "counts": counts}])["counts"]  # in fewest letters
    return rewritten


def counts_of_runs(runs: list[int], *, height: int, width: int) -> bytes:
    """Return the same of uncompressed RLE counts.

    Raises:
        MaskError: as `filled_counts`, and for runs that are not whole numbers.
    """
    pixels = height * width
    if not all(type(run) is int and 0 <= run <= pixels for run in runs):
        raise MaskError("RLE has a run that is not a number of pixels")
    checked = _checked(np.array(runs, dtype=np.int64), pixels)
    return _compressed(_without_empty_runs(checked), height, width)


def _checked(runs: np.ndarray, pixels: int) -> np.ndarray:
    if len(runs) == 0 or runs.min() < 0 or runs.max() > pixels:
        raise MaskError("RLE has a run that is not a number of pixels")
    if (total := int(runs.sum())) != pixels:
        raise MaskError(f"RLE covers {total} pixels of {pixels}")
    return runs


def _compressed(runs: np.ndarray, height: int, width: int) -> bytes:
    size = [height, width]
    counts: bytes = coco_mask.frPyObjects({"size": size, "counts": runs.tolist()}, height, width)["counts"]
    return counts


def _without_empty_runs(runs: np.ndarray) -> np.ndarray:
    """Join the neighbours of runs of no pixels, at which pycocotools ends a merge too early."""
    is_object = np.arange(len(runs)) % 2 == 1
    runs, is_object = runs[runs > 0], is_object[runs > 0]
    starts = np.flatnonzero(np.diff(is_object, prepend=not is_object[0]))
    joined = np.add.reduceat(runs, starts)
    return np.concatenate([[0], joined]) if is_object[0] else joined


def mask_overlap(counts: bytes, other: bytes, *, height: int, width: int) -> int:
    """Return the pixels that are object in both masks; both counts as `filled_counts` or `encode_mask` return them."""
    size = [height, width]
    both = coco_mask.merge([{"size": size, "counts": counts}, {"size": size, "counts": other}], intersect=True)
    return int(coco_mask.area(both))
