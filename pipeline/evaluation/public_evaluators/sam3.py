"""SAM 3's cgF1, for at most one mask on either side: one expression is one image with one prompt.

cgF1 = F1 of masks on samples with a target and an answer, times Matthews' correlation of "is it there".
"""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.public_evaluators.counts import MaskCounts
from pipeline.evaluation.public_evaluators.evaluator import PublicEvaluator, Source

_IOU_LEVELS = np.linspace(0.5, 0.95, 10)
_CONFIDENCE = 0.5
_PREFIX = "cgF1_eval_segm_"


def _cgf1(counts: MaskCounts) -> dict[str, float]:
    there = counts.target_area > 0
    found = counts.predicted_area > 0
    if counts.confidence is not None:
        found = found & (counts.confidence >= _CONFIDENCE)
    per_mask, per_image = _of_masks(counts, there, found), _of_images(there, found)
    per_mask["cgF1"] = per_mask["positive_micro_F1"] * per_image["IL_MCC"]
    means = {_PREFIX + name: _mean(per_mask[name]) for name in _MASK_SCORES}
    at = {
        f"{_PREFIX}{name}@{level}": _mean(per_mask[name][level == _IOU_LEVELS])
        for level in (0.5, 0.75)
        for name in _MASK_SCORES
    }
    return {**means, **{_PREFIX + name: value for name, value in per_image.items()}, **at}


_MASK_SCORES = (
    "cgF1",
    "precision",
    "recall",
    "F1",
    "positive_macro_F1",
    "positive_micro_F1",
    "positive_micro_precision",
)


def _f1(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    return 2 * precision * recall / (precision + recall + 1e-4)


def _of_masks(counts: MaskCounts, there: np.ndarray, found: np.ndarray) -> dict[str, np.ndarray]:
    """Return scores [10], one per IoU level. Sums over samples keep their order, as theirs."""
    pairs = there & found
    iou = np.where(pairs, counts.intersection / np.maximum(counts.union, 1), -1.0)
    right = (iou[:, None] >= _IOU_LEVELS).astype(np.int64)
    hits = right.sum(axis=0)
    false = found.sum() - hits
    missed = there.sum() - hits
    false_in_pairs = pairs.sum() - hits
    precision, recall = hits / (hits + false + 1e-4), hits / (hits + missed + 1e-4)
    positive_precision = hits / (hits + false_in_pairs + 1e-4)
    of_one = right[pairs] / (1 + 1e-4)
    local = _f1(of_one, of_one)
    return {
        "precision": precision,
        "recall": recall,
        "F1": _f1(precision, recall),
        "positive_macro_F1": np.add.accumulate(local)[-1:].sum(axis=0) / np.int64(pairs.sum()),
        "positive_micro_F1": _f1(positive_precision, recall),
        "positive_micro_precision": positive_precision,
    }


def _of_images(there: np.ndarray, found: np.ndarray) -> dict[str, float]:
    right, false = int((there & found).sum()), int((~there & found).sum())
    missed, absent = int((there & ~found).sum()), int((~there & ~found).sum())
    precision, recall = right / (right + false + 1e-6), right / (right + missed + 1e-6)
    margins = float(right + false) * float(right + missed) * float(absent + false) * float(absent + missed)
    return {
        "IL_precision": precision,
        "IL_recall": recall,
        "IL_F1": 2 * precision * recall / (precision + recall + 1e-6),
        "IL_FPR": false / (false + absent + 1e-6),
        "IL_MCC": float(right * absent - false * missed) / (margins**0.5 + 1e-6),
    }


def _mean(scores: np.ndarray) -> float:
    """Return the mean of what is a score: NaN is left out, and nothing at all is -1."""
    kept = scores[scores > -1]
    return float(np.mean(kept)) if len(kept) else -1.0


SAM3_CGF1 = PublicEvaluator(
    name="sam3_cgf1",
    system="SAM 3's cgF1",
    source=Source(
        repository="facebookresearch/sam3",
        commit="99d02f28c8d34610ab35559b72642b01f10fdb1e",
        file="sam3/eval/cgf1_eval.py",
        function="CGF1Evaluator",
    ),
    masks="at the original size; a mask with a confidence below 0.5, or an empty one, is not an answer",
    both_empty="right, in the score per image only",
    precision_at="IoU >= X for X = 0.5 .. 0.95: a pair counts",
    means="over masks, or over pairs (macro); float64 with 1e-4 under the fraction bar",
    scored_at="original",
    no_target="needed",
    formula=_cgf1,
    unit="0 to 1",
)
