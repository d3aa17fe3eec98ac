"""Object masks as COCO run-length codes, by pycocotools; input that its C code does not check is checked here.

A mask is the union of its polygons as pycocotools draws them. The original REFER class adds the polygons up instead: a
pixel where two of them overlap is 2 there. Shapes: HW is a mask of an image of that height and width, uint8, 0 or 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from sharedris.pixels import MAX_PIXELS

REACH_IN_SIZES, REACH_PIXELS = 4, 1000
"""How far from the origin a polygon may reach: four times the longer side of its image, and 1000 pixels."""
MAX_OUTLINE_PIXELS = 4_000_000
"""Longest outline of a polygon; pycocotools takes 80 bytes for each pixel of it."""

_NUMBERS = re.compile(rb"(?:[P-o]{0,6}+[0-O])*+")
"""Compressed counts: a number is letters that announce another one, at most six, and a last one that does not."""
_BITS, _MORE, _SIGN = 5, 0x20, 0x10


class MaskError(ValueError):
    """A segmentation that is not a mask; the message says why."""


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
    reach = REACH_IN_SIZES * max(height, width) + REACH_PIXELS
    polygons = [_check_polygon(polygon, reach) for polygon in segmentation]
    parts = coco_mask.frPyObjects(polygons, height, width)
    counts: bytes = coco_mask.merge(parts)["counts"]
    return counts


def _check_polygon(polygon: Any, reach: int) -> np.ndarray:
    try:
        points = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise MaskError("polygon holds something that is not a number") from None
    if points.ndim != 1 or points.size < 6 or points.size % 2:
        raise MaskError(f"polygon of {points.size} numbers; it takes an even count of 6 or more")
    if not np.isfinite(points).all():
        raise MaskError("polygon has coordinates that are not finite")
    farthest = float(np.abs(points).max())  # of Python, which overflows to infinity without a warning
    if points.size * farthest > MAX_OUTLINE_PIXELS and _outline_pixels(points) > MAX_OUTLINE_PIXELS:
        raise MaskError(f"polygon has an outline of more than {MAX_OUTLINE_PIXELS} pixels")
    if farthest > reach:
        raise MaskError(f"polygon has the coordinate {farthest:g}, which is far outside its image")
    return points


def _outline_pixels(points: np.ndarray) -> float:
    corners = points.reshape(-1, 2)
    with np.errstate(over="ignore"):  # infinity is too long as well
        return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())


def _encode_rle(segmentation: dict[str, Any], height: int, width: int) -> bytes:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size not in ([height, width], (height, width)):
        raise MaskError(f"RLE is for {size}, its image is {[height, width]} (height, width)")
    if isinstance(counts, list):
        _check_lengths(counts, height * width)
        compressed: bytes = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"]
        return compressed
    if isinstance(counts, str):
        counts = counts.encode(errors="surrogatepass")
    if not isinstance(counts, bytes):
        raise MaskError("RLE has no counts")
    return encode_mask(decode_filled_mask(counts, height=height, width=width))


def _check_lengths(lengths: list[Any], pixels: int) -> None:
    if not all(isinstance(length, int) and 0 <= length <= pixels for length in lengths):
        raise MaskError("RLE has a run that is not a number of pixels")
    if sum(lengths) != pixels:
        raise MaskError(f"RLE covers {sum(lengths)} pixels of {pixels}")


def read_runs(counts: bytes) -> np.ndarray:
    """Return the runs that compressed counts stand for, int64, background first.

    A number is 5 bits a letter, the lowest first; from the fourth on it is the difference to the run two before. Runs
    of damaged counts may be negative, and may add up to anything.

    Raises:
        MaskError: for bytes that are not such numbers.
    """
    if not _NUMBERS.fullmatch(counts):
        raise MaskError("RLE counts are damaged")
    if not counts:
        return np.empty(0, dtype=np.int64)
    letters = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((letters & _MORE) == 0)
    first = np.empty_like(last)
    first[0], first[1:] = 0, last[:-1] + 1
    lengths = last - first + 1
    places = np.arange(len(letters)) - np.repeat(first, lengths)
    numbers = np.add.reduceat((letters & 0x1F) << (_BITS * places), first)
    numbers -= ((letters[last] & _SIGN) != 0).astype(np.int64) << (_BITS * lengths)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _require_filled(counts: bytes, height: int, width: int) -> None:
    """Refuse runs that end early: pycocotools leaves the rest of the mask uninitialized, and fails only on too many.

    The runs are added up here. Asking pycocotools to decode them into one pixel less, which must fail, loses the memory
    of a whole mask at each call (its `decode` does not free what it could not fill).
    """
    runs, pixels = read_runs(counts), height * width
    if len(runs) and (runs.min() < 0 or runs.max() > pixels or runs.sum() > pixels):
        raise _too_many(height, width)
    if runs.sum() < pixels:
        raise MaskError(f"RLE covers fewer than the {pixels} pixels of its image")


def _too_many(height: int, width: int) -> MaskError:
    return MaskError(f"RLE covers more than {height} x {width} pixels")


def encode_mask(mask_HW: np.ndarray) -> bytes:
    """Return compressed RLE counts of a mask (any nonzero value is the object)."""
    counts: bytes = coco_mask.encode(np.asfortranarray(mask_HW != 0, dtype=np.uint8))["counts"]
    return counts


def empty_mask(*, height: int, width: int) -> bytes:
    """Return the counts of a mask without an object."""
    return encode_mask(np.zeros((height, width), dtype=np.uint8))


def merge_masks(parts: Sequence[bytes], *, height: int, width: int) -> bytes:
    """Return the union of masks of one size, as compressed counts that fill it."""
    if len(parts) == 1:
        return parts[0]
    counts: bytes = coco_mask.merge([{"size": [height, width], "counts": part} for part in parts])["counts"]
    return counts


def decode_mask(counts: bytes, *, height: int, width: int) -> np.ndarray:
    """Return the mask_HW, uint8, 0 or 1, of compressed RLE counts that fill it.

    Raises:
        MaskError: for a size out of bounds, damaged counts, or counts of more pixels.
    """
    _require_bounds(height, width)
    return _decode(counts, height, width)


def decode_filled_mask(counts: bytes, *, height: int, width: int) -> np.ndarray:
    """Return the mask_HW, uint8, 0 or 1, of compressed RLE counts from a file, which may not fill the mask.

    Raises:
        MaskError: as `decode_mask`, and for counts of fewer pixels.
    """
    _require_bounds(height, width)
    _require_filled(counts, height, width)
    return _decode(counts, height, width)


def _require_bounds(height: int, width: int) -> None:
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        raise MaskError(f"a mask of {height} x {width} pixels is out of bounds")


def _decode(counts: bytes, height: int, width: int) -> np.ndarray:
    # pycocotools trusts what it is given: numbers without an end make it write past its memory.
    if not _NUMBERS.fullmatch(counts):
        raise MaskError("RLE counts are damaged")
    try:
        mask_HW: np.ndarray = coco_mask.decode({"size": [height, width], "counts": counts})
    except ValueError:
        raise _too_many(height, width) from None
    return mask_HW


def mask_area(counts: bytes, *, height: int, width: int) -> int:
    """Return the number of object pixels."""
    return int(coco_mask.area({"size": [height, width], "counts": counts}))
