"""big_vision's evaluator of PaliGemma: masks are written in tokens, and an answer without them counts as IoU 0."""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.public_evaluators.counts import MaskCounts
from pipeline.evaluation.public_evaluators.evaluator import Fault, PublicEvaluator, Source


def _big_vision(counts: MaskCounts) -> dict[str, float]:
    """Score masks. `boxacc` needs the boxes that the network writes, so it is left out."""
    invalid = counts.predicted_area == 0
    iou = np.where(invalid, 0.0, counts.intersection / np.maximum(counts.union, 1))
    return {
        "miou": np.add.accumulate(iou)[-1] / len(counts),
        "invalid": float(np.count_nonzero(invalid)),
        "total": float(len(counts)),
    }


BIG_VISION = PublicEvaluator(
    name="big_vision",
    system="big_vision (PaliGemma)",
    source=Source(
        repository="google-research/big_vision",
        commit="0127fb6b337ee2a27bf4e54dea79cff176527356",
        file="big_vision/evaluators/proj/paligemma/transfers/segmentation.py",
        function="Evaluator.run",
    ),
    masks="a decoded mask of 64 x 64 pixels, bilinear resize into its box at the original size, above 0",
    both_empty="IoU 0, counted, and invalid: an answer without a box",
    precision_at="",
    means="over expressions, float64",
    scored_at="original",
    no_target="counted",
    formula=_big_vision,
    unit="0 to 1; counts",
    faults=(Fault(what="an empty answer is IoU 0 even where there is no target", scores=("miou",)),),
)
