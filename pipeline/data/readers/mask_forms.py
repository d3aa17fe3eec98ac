"""Masks in the forms that other tools write, brought into the forms that `pipeline.data.masks` takes.

Read are: a list of RLE dictionaries (their union, as in the REFER class), counts as the text of a bytes literal, null,
whole numbers as 1.0, one flat polygon, polygons of [x, y] pairs, and stray parts of fewer than three points.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.data.masks import MaskError, encode_segmentation
from pipeline.data.readers.annotations import Box, Problem

_LEAST_NUMBERS = 6


def encode_any_form(segmentation: Any, *, height: int, width: int, where: str, skipped: list[Problem]) -> bytes:
    """Return compressed RLE counts of a segmentation as COCO, REFER, labelme or pandas write it.

    Args:
        segmentation: polygons, RLE, or a list of RLE.
        height: the image's height in pixels.
        width: the image's width in pixels.
        where: file and entry, for `skipped`.
        skipped: gets a problem for each part of fewer than three points, which is left out.

    Raises:
        MaskError: for an absent, malformed or wrongly sized segmentation.
    """
    if segmentation is None:
        segmentation = []
    if isinstance(segmentation, dict):
        return encode_segmentation(_plain_rle(segmentation), height=height, width=width)
    if not isinstance(segmentation, list) or not segmentation:
        return encode_segmentation(segmentation, height=height, width=width)
    dictionaries = sum(isinstance(part, dict) for part in segmentation)
    if dictionaries == len(segmentation):
        return _union(segmentation, height, width)
    if dictionaries:
        raise MaskError("segmentation is a list that mixes dictionaries and polygons")
    kept, stray = _without_stray_parts(segmentation)
    skipped += [
        Problem(kind="stray polygon part", where=where, message=f"a part of {len(part) // 2} point(s) is left out")
        for part in stray
    ]
    return encode_segmentation(kept, height=height, width=width)


def outline_box(segmentation: Any) -> Box | None:
    """Return the box around polygons as annotated, in any form that `encode_any_form` reads; None for other masks."""
    if not isinstance(segmentation, list) or not segmentation or any(isinstance(part, dict) for part in segmentation):
        return None
    points = np.concatenate([np.asarray(part, dtype=np.float64) for part in _without_stray_parts(segmentation)[0]])
    (left, top), (right, bottom) = points.reshape(-1, 2).min(axis=0), points.reshape(-1, 2).max(axis=0)
    return float(left), float(top), float(right - left), float(bottom - top)


def box_around(boxes: Sequence[Box | None]) -> Box | None:
    """Return the smallest box around all; None where there is none, or one is not known."""
    known = [box for box in boxes if box is not None]
    if not known or len(known) < len(boxes):
        return None
    if len(known) == 1:
        return known[0]  # as annotated: a sum of differences may round
    left, top = min(box[0] for box in known), min(box[1] for box in known)
    right, bottom = max(box[0] + box[2] for box in known), max(box[1] + box[3] for box in known)
    return left, top, right - left, bottom - top


def _without_stray_parts(segmentation: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return polygons, and the parts of fewer than three points among them, if another part remains."""
    polygons = _polygons(segmentation)
    kept = [polygon for polygon in polygons if not isinstance(polygon, list) or len(polygon) >= _LEAST_NUMBERS]
    stray = [polygon for polygon in polygons if isinstance(polygon, list) and len(polygon) < _LEAST_NUMBERS]
    return (kept, stray) if kept else (polygons, [])


def _union(parts: list[dict[str, Any]], height: int, width: int) -> bytes:
    masks = [
        {"size": [height, width], "counts": encode_segmentation(_plain_rle(part), height=height, width=width)}
        for part in parts
    ]
    counts: bytes = coco_mask.merge(masks)["counts"]
    return counts


def _plain_rle(rle: dict[str, Any]) -> dict[str, Any]:
    counts = rle.get("counts")
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"'):  # a quote never occurs in compressed counts
        try:
            counts = ast.literal_eval(counts)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise MaskError("RLE counts are a damaged bytes literal; write the counts as text") from None
    if isinstance(counts, list):
        counts = [_whole(length) for length in counts]
    size = rle.get("size")
    if isinstance(size, list | tuple):
        size = [_whole(length) for length in size]
    return {**rle, "size": size, "counts": counts}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _polygons(segmentation: list[Any]) -> list[Any]:
    """Return flat polygons; a list whose every element is one pair is a single polygon of pairs."""
    if all(_is_number(value) for value in segmentation):
        return [segmentation]
    if len(segmentation) > 2 and all(_is_pair(part) for part in segmentation):
        return [_flat(segmentation)]
    return [
        _flat(part) if isinstance(part, list) and part and all(_is_pair(point) for point in part) else part
        for part in segmentation
    ]


def _flat(points: list[Any]) -> list[Any]:
    return [value for point in points for value in point]


def _is_pair(point: Any) -> bool:
    return isinstance(point, list | tuple) and len(point) == 2 and all(_is_number(value) for value in point)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
