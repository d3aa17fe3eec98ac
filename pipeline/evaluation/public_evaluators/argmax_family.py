"""LAVT, and DMMI with Ref-ZOM, whose test scripts follow LAVT's: NumPy, float64, an empty union counts as IoU 0."""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.public_evaluators.counts import MaskCounts
from pipeline.evaluation.public_evaluators.evaluator import PublicEvaluator, Source
from pipeline.evaluation.public_evaluators.mask_rules import DMMI_MASKS, LAVT_MASKS

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)


def iou_or_0(counts: MaskCounts) -> np.ndarray:
    """Return per-sample IoU [N], float64; 0 where both masks are empty."""
    return np.where(counts.union > 0, counts.intersection / np.maximum(counts.union, 1), 0.0)


def _precision(iou: np.ndarray) -> dict[str, float]:
    return {f"precision@{level}": np.count_nonzero(iou >= level) * 100.0 / np.int64(len(iou)) for level in LEVELS}


def _overall(counts: MaskCounts) -> float:
    return counts.intersection.sum() * 100.0 / counts.union.sum()


def _lavt(counts: MaskCounts) -> dict[str, float]:
    iou = iou_or_0(counts)
    return {"Mean IoU": np.mean(iou) * 100.0, **_precision(iou), "overall IoU": _overall(counts)}


def _dmmi(counts: MaskCounts) -> dict[str, float]:
    iou = iou_or_0(counts)
    return {**_precision(iou), "overall IoU": _overall(counts), "mean IoU": np.mean(iou) * 100.0}


def _ref_zom(counts: MaskCounts) -> dict[str, float]:
    """Score samples with a target as DMMI does; one without is right only if no pixel is predicted."""
    there = ~counts.without_target
    empty = counts.predicted_area[~there] == 0
    with_target = MaskCounts(
        intersection=counts.intersection[there],
        union=counts.union[there],
        target_area=counts.target_area[there],
    )
    return {**_dmmi(with_target), "Mean accuracy for one-to-zero sample": np.mean(empty) * 100.0}


_MASKS = "bilinear resize of logits with aligned corners to the input size, argmax; true mask resized nearest"
_EMPTY = "IoU 0, counted"

LAVT = PublicEvaluator(
    name="lavt",
    system="LAVT",
    source=Source(
        repository="yz93/LAVT-RIS",
        commit="1da0af9f21b637c0cae9ea1363d2dd9b40e19628",
        file="test.py",
        function="evaluate",
    ),
    masks=_MASKS,
    both_empty=_EMPTY,
    precision_at="IoU >= X",
    means="over expressions, float64",
    scored_at="input",
    no_target="counted",
    formula=_lavt,
    mask_rule=LAVT_MASKS,
)
_DMMI_TEST = Source(
    repository="toggle1995/RIS-DMMI",
    commit="753cd600b14db2b0d8ec60bee49666ba5bfc4d54",
    file="test.py",
    function="evaluate",
)
DMMI = PublicEvaluator(
    name="dmmi",
    system="DMMI on RefCOCO",
    source=_DMMI_TEST,
    masks=_MASKS,
    both_empty=_EMPTY,
    precision_at="IoU >= X",
    means="over expressions, float64",
    scored_at="input",
    no_target="counted",
    formula=_dmmi,
    mask_rule=DMMI_MASKS,
)
REF_ZOM = PublicEvaluator(
    name="ref_zom",
    system="DMMI on Ref-ZOM",
    source=_DMMI_TEST,
    masks=_MASKS,
    both_empty="without a target: right; with one that the resize removed: IoU 0, counted",
    precision_at="IoU >= X",
    means="over expressions with a target; accuracy over those without; float64",
    scored_at="input",
    no_target="needed",
    formula=_ref_zom,
    mask_rule=DMMI_MASKS,
)
