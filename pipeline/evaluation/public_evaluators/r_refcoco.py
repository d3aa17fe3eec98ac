"""R-RefCOCO's evaluator: per ref, first the expressions with a target, then those without, in float32."""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.public_evaluators.counts import MaskCounts, in_groups
from pipeline.evaluation.public_evaluators.evaluator import Fault, PublicEvaluator, Source
from pipeline.evaluation.public_evaluators.mask_rules import LAVT_MASKS, R_REFCOCO_MASKS

_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
_ZERO = np.float32(0)


def _r_refcoco(counts: MaskCounts) -> dict[str, float]:
    """Score ref by ref. Means are over refs, of means over their expressions, so a ref counts once."""
    assert counts.ref_ids is not None
    areas = counts.predicted_area
    sizes = areas if counts.area_at_input is None else counts.area_at_input
    sums = {"mIoU": 0.0, "r": 0.0, "rIoU": 0.0, "rIoU at one size": 0.0, "I": 0.0, "U": 0.0}
    running: list[np.float32] = []
    each: list[np.float32] = []
    groups = in_groups(counts.ref_ids)
    for group in groups:
        absent = counts.without_target[group]
        both, either, iou = _ZERO, _ZERO, _ZERO
        for sample in group[~absent]:
            one, two = np.float32(counts.intersection[sample]), np.float32(counts.union[sample])
            both, either, iou = both + one, either + two, iou + one / two
            running.append(iou)
            each.append(one / two)
        masks = group[absent]
        wrong = np.float32(np.count_nonzero(areas[masks]))
        sums["mIoU"] += float(iou / np.float32(np.count_nonzero(~absent)))
        sums["I"] += float(both)
        sums["U"] += float(either)
        sums["r"] += float((np.float32(len(masks)) - wrong) / np.float32(len(masks)))
        sums["rIoU"] += float(both / _plus(either, sizes[masks]))
        sums["rIoU at one size"] += float(both / _plus(either, areas[masks]))
    total = np.float64(len(groups))
    means = {name: 100 * (sums[name] / total) for name in ("mIoU", "r", "rIoU", "rIoU at one size")}
    return {
        "mIoU": means["mIoU"],
        "oIoU": np.float64(100 * sums["I"]) / sums["U"],
        "r": means["r"],
        "rIoU": means["rIoU"],
        **_shares("P@{}", running),
        **_shares("P@{} of each expression", each),
        "rIoU at one size": means["rIoU at one size"],
    }


def _plus(total: np.float32, areas: np.ndarray) -> np.float32:
    """Add areas to a float32 one after the other."""
    for area in areas[areas > 0]:
        total = total + np.float32(area)
    return total


def _shares(name: str, values: list[np.float32]) -> dict[str, float]:
    found, total = np.array(values, dtype=np.float32), np.int64(len(values))
    return {name.format(level): np.count_nonzero(found >= np.float32(level)) * 100.0 / total for level in _LEVELS}


_PRECISION = tuple(f"P@{level}" for level in _LEVELS)

R_REFCOCO = PublicEvaluator(
    name="r_refcoco",
    system="R-RefCOCO (RefSegformer)",
    source=Source(
        repository="jianzongwu/robust-ref-seg",
        commit="e7c7da6fa872007796516c423208f96003410cf9",
        file="utils/validation.py",
        function="validate",
    ),
    masks="bilinear resize of logits with aligned corners to the original size, argmax; for expressions without a "
    "target argmax at the input size",
    both_empty="without a target: right; with one: NaN, which makes the means NaN",
    precision_at="the sum of the IoUs of a ref so far >= X",
    means="over refs, of means over their expressions; float32 within a ref",
    scored_at="original",
    no_target="needed",
    grouped_by="ref_ids",
    formula=_r_refcoco,
    mask_rule=R_REFCOCO_MASKS,
    input_rule=LAVT_MASKS,
    faults=(
        Fault(
            what="a ref without an expression that has a target, or without one that has none, makes means NaN",
            scores=("mIoU", "r"),
        ),
        Fault(
            what="P@X compares the sum of the IoUs of a ref's expressions so far, not the IoU of each",
            scores=_PRECISION,
            right=tuple((name, f"{name} of each expression") for name in _PRECISION),
        ),
        Fault(
            what="rIoU adds pixels at the input size, where there is no target, to a union at the original size",
            scores=("rIoU",),
            right=(("rIoU", "rIoU at one size"),),
        ),
    ),
)
