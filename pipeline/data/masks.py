"""Object masks as COCO run-length codes: from polygons and RLE, to pixels, checked on the way.

A mask is the union of its polygons as pycocotools draws them, as in the original REFER class. Shapes: HW is a mask of
an image of that height and width, uint8, 0 or 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

MAX_PIXELS = 100_000_000
"""Largest image that is accepted; bounds what a hostile size can make us allocate."""


class MaskError(ValueError):
    """A segmentation that is no mask; the message says why."""


def encode_segmentation(segmentation: Any, *, height: int, width: int) -> bytes:
    """Return compressed RLE counts of a COCO segmentation: polygons, compressed RLE or uncompressed RLE.

    Raises:
        MaskError: for an absent, malformed or wrongly sized segmentation.
    """
    if isinstance(segmentation, dict):
        return _encode_rle(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise MaskError(f"segmentation is {type(segmentation).__name__}, neither polygons nor RLE")
    if not segmentation:
        raise MaskError("segmentation is empty: the annotation has no mask")
    polygons = [_check_polygon(polygon) for polygon in segmentation]
    parts = coco_mask.frPyObjects(polygons, height, width)
    return coco_mask.merge(parts)["counts"]


def _check_polygon(polygon: Any) -> np.ndarray:
    try:
        points = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError):
        raise MaskError("polygon holds something that is no number") from None
    if points.ndim != 1 or points.size < 6 or points.size % 2:
        raise MaskError(f"polygon of {points.size} numbers; it takes an even count of 6 or more")
    if not np.isfinite(points).all() or np.abs(points).max() > 1e6:
        raise MaskError("polygon has coordinates that are not finite or far outside any image")
    return points


def _encode_rle(segmentation: dict[str, Any], height: int, width: int) -> bytes:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size not in ([height, width], (height, width)):
        raise MaskError(f"RLE is for {size}, its image is {[height, width]} (height, width)")
    if isinstance(counts, list):
        lengths = _check_lengths(counts, height * width)
        return coco_mask.frPyObjects({"size": [height, width], "counts": lengths}, height, width)["counts"]
    if isinstance(counts, str):
        counts = counts.encode("ascii", errors="replace")
    if not isinstance(counts, bytes):
        raise MaskError("RLE has no counts")
    _check_lengths(run_lengths(counts), height * width)
    return counts


def _check_lengths(lengths: Any, pixels: int) -> list[int]:
    if not all(isinstance(length, int) and 0 <= length <= pixels for length in lengths):
        raise MaskError("RLE has a run that is no number of pixels")
    if sum(lengths) != pixels:
        raise MaskError(f"RLE covers {sum(lengths)} pixels of {pixels}")
    return lengths


def run_lengths(counts: bytes) -> list[int]:
    """Return the run lengths of compressed RLE counts (background first, column by column).

    Each number is little-endian base 32 in letters from "0" on, signed, from the third on a difference to the run
    two before. Decoding them here keeps hostile counts away from C code that trusts them.
    """
    lengths: list[int] = []
    value = shift = 0
    for letter in counts:
        digit = letter - 48
        if not 0 <= digit < 64 or shift > 30:
            raise MaskError("RLE counts are damaged")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise MaskError("RLE counts end in the middle of a number")
    return lengths


def encode_mask(mask_HW: np.ndarray) -> bytes:
    """Return compressed RLE counts of a mask (any nonzero value is the object)."""
    return coco_mask.encode(np.asfortranarray(mask_HW != 0, dtype=np.uint8))["counts"]


def decode_mask(counts: bytes, *, height: int, width: int) -> np.ndarray:
    """Return the mask_HW, uint8, 0 or 1, of compressed RLE counts that this module made.

    Fills whole runs at once, at half the time of pycocotools, which sets pixel after pixel.
    """
    ends = np.cumsum(_trusted_lengths(counts)).tolist()
    flat = np.zeros(height * width, dtype=np.uint8)
    for start, end in zip(ends[::2], ends[1::2], strict=False):
        flat[start:end] = 1
    return flat.reshape(width, height).T


def _trusted_lengths(counts: bytes) -> np.ndarray:
    """Return what `run_lengths` does, without its checks and without a loop."""
    digits = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(digits & 32 == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    places = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    values = np.add.reduceat((digits & 31) << 5 * places, first)
    values -= np.where(digits[last] & 16, 1 << 5 * (places[last] + 1), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def mask_area(counts: bytes, *, height: int, width: int) -> int:
    """Return the number of object pixels."""
    return int(coco_mask.area({"size": [height, width], "counts": counts}))
