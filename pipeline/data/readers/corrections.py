"""Replace masks of a set by corrected ones, as a set with its own name: moondream's refcoco-m for RefCOCO's val.

refcoco-m numbers its refs itself, so a correction is joined by image and sentences. A ref without a corrected mask and
a sentence that the correction leaves out are left out and counted. All ids stay those of the set.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pycocotools import mask as coco_mask

from pipeline.data.readers.annotations import Problem, Source, SourceRef
from pipeline.data.readers.hf import read_hf
from sharedris.errors import InputError

CORRECTED = "+refcocom"
"""What is added to the name of a set whose masks are corrected: `refcoco_unc+refcocom`."""


def corrected_source(source: Source, folder: Path) -> Source:
    """Return the refs that have a corrected mask, with it; problems of single corrections are listed in the result.

    Args:
        source: the set as published, of one object per ref.
        folder: with the parquet files of refcoco-m, or one of them.

    Raises:
        InputError: when a file cannot be read, or corrects nothing of the set.
    """
    read = read_hf(folder, f"{source.set_name}{CORRECTED}", images=source.image_root, need_images=False)
    result = replace(
        source,
        set_name=read.set_name,
        files=(*source.files, *read.files),
        check_command=f"{source.check_command} --corrections {folder}",
        refs=[],
        problems=[*source.problems, *read.problems],
        skipped=[*source.skipped],
    )
    found = _matches(source, read.refs, result.problems)
    if not found:
        raise InputError(f"{folder} corrects no ref of {source.set_name}", "Give the corrections of this set")
    splits = {correction.split for correction in found.values()}
    for position, ref in enumerate(source.refs):
        if position in found:
            result.refs.append(_corrected(ref, found[position], result.skipped))
        elif ref.split in splits:
            text = f"ref {ref.ref_id}"
            result.skipped.append(Problem(kind="no corrected mask", where=text, message="is left out"))
    return result


def _matches(source: Source, corrections: Sequence[SourceRef], problems: list[Problem]) -> dict[int, SourceRef]:
    """Return position of a ref -> its correction."""
    by_image: dict[tuple[int, str], list[int]] = defaultdict(list)
    for position, ref in enumerate(source.refs):
        by_image[ref.image.image_id, ref.split].append(position)
    found: dict[int, SourceRef] = {}
    for correction in corrections:
        where = f"image {correction.image.image_id}, {correction.expressions[0]!r}"
        candidates = [
            position
            for position in by_image[correction.image.image_id, correction.split]
            if not _sentences(correction) - _sentences(source.refs[position])
        ]
        if len(candidates) > 1:  # two objects of one image with the same sentence: the one that the mask is of
            candidates = [max(candidates, key=lambda position: _overlap(source.refs[position], correction))]
        if not candidates:
            problems.append(Problem(kind="correction of no ref", where=where, message="no ref has its sentences"))
        elif candidates[0] in found:
            problems.append(Problem(kind="duplicate correction", where=where, message="a second one for the same ref"))
        elif (size := _size(source.refs[candidates[0]])) != _size(correction):
            text = f"is for {list(_size(correction))}, the image has {list(size)} (height, width)"
            problems.append(Problem(kind="malformed mask", where=where, message=text))
        else:
            found[candidates[0]] = correction
    return found


def _sentences(ref: SourceRef) -> Counter[str]:
    return Counter(text.casefold() for text in ref.expressions)


def _size(ref: SourceRef) -> tuple[int, int]:
    return ref.image.height, ref.image.width


def _overlap(ref: SourceRef, correction: SourceRef) -> float:
    """Return the IoU of the published and the corrected mask; 0 where they cannot be compared."""
    if ref.mask_rle is None or correction.mask_rle is None or _size(ref) != _size(correction):
        return 0.0
    masks = [{"size": list(_size(each)), "counts": each.mask_rle} for each in (ref, correction)]
    return float(coco_mask.iou(masks[:1], masks[1:], [0])[0, 0])


def _corrected(ref: SourceRef, correction: SourceRef, skipped: list[Problem]) -> SourceRef:
    room = _sentences(correction)
    kept: list[int] = []
    for position, text in enumerate(ref.expressions):
        if room[text.casefold()] > 0:
            room[text.casefold()] -= 1
            kept.append(position)
        else:
            where = f"ref {ref.ref_id}"
            skipped.append(Problem(kind="sentence without correction", where=where, message=f"{text!r} is left out"))
    return replace(
        ref,
        mask_rle=correction.mask_rle,
        box=None,  # of the published mask
        outline=None,
        sent_ids=tuple(ref.sent_ids[position] for position in kept),
        expressions=tuple(ref.expressions[position] for position in kept),
    )
