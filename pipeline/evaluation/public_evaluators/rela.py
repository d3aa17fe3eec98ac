"""ReLA's evaluator of gRefCOCO: gIoU, cIoU, N_acc and T_acc, with a no-target answer that overrides the mask."""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.public_evaluators.counts import MaskCounts
from pipeline.evaluation.public_evaluators.evaluator import Fault, PublicEvaluator, Source
from pipeline.evaluation.public_evaluators.mask_rules import RELA_MASKS

_LEVELS = (0.7, 0.8, 0.9)


def _rela(counts: MaskCounts) -> dict[str, float]:
    """Score by the four cases: a sample has a target or none, the answer is a mask or "no target".

    A right "no target" is IoU 1 and adds no pixels; a mask where there is no target is IoU 0 and adds its pixels to the
    union; "no target" where there is one takes the intersection away and keeps the union.
    """
    absent, said = counts.without_target, counts.answered_no_target
    intersection = np.where(absent | said, 0, counts.intersection)
    union = np.where(absent & said, 0, counts.union)
    iou = np.where(absent, said, np.where(union > 0, intersection / np.maximum(union, 1), 0.0))
    there = np.count_nonzero(~absent)
    accuracies = {"T_acc": 0.0, "N_acc": 0.0}
    if absent.any():
        accuracies["T_acc"] = np.count_nonzero(~absent & ~said) / np.int64(there)
        accuracies["N_acc"] = np.count_nonzero(absent & said) / np.count_nonzero(absent)
    return {
        "gIoU": 100.0 * (np.add.accumulate(iou, dtype=np.float64)[-1] / len(counts)),
        "cIoU": intersection.sum() * 100.0 / union.sum(),
        **accuracies,
        **{f"Pr@{x}": np.count_nonzero(~absent & (iou >= x)) * 100.0 / np.int64(there) for x in _LEVELS},
    }


RELA = PublicEvaluator(
    name="rela",
    system="ReLA",
    source=Source(
        repository="henghuiding/ReLA",
        commit="3ca955198da8ace68f8980b6fcbada0791cc51c2",
        file="gres_model/evaluation/refer_evaluation.py",
        function="ReferEvaluator",
    ),
    masks="bilinear resize of logits to the input size, sigmoid, argmax of two classes; the no-target head's answer "
    "overrides the mask",
    both_empty="without a target and answered so: IoU 1, no pixels; with a target: IoU 0",
    precision_at="IoU >= X, over expressions with a target",
    means="gIoU over expressions, those without a target included; float64",
    scored_at="input",
    no_target="apart",
    formula=_rela,
    mask_rule=RELA_MASKS,
    unit="percent; accuracies 0 to 1",
    faults=(Fault(what="both accuracies are 0 where every sample has a target", scores=("T_acc", "N_acc")),),
)
