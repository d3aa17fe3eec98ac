"""EVF-SAM and GSVA, which follow LISA: a small number under the fraction bar, meters that end in float32.

An image's expressions are added up first, then the images. Sums of pixels are float32 or int32, as their tensors are.
"""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.public_evaluators.counts import MaskCounts, in_groups
from pipeline.evaluation.public_evaluators.evaluator import Fault, PublicEvaluator, Source
from pipeline.evaluation.public_evaluators.mask_rules import GSVA_MASKS, SAM_MASKS

_GSVA = "LeapLabTHU/GSVA"
_GSVA_COMMIT = "618dc7957cd239442d1ecd45c8d575cf91b9ca8e"


def _by_image(counts: MaskCounts, epsilon: float) -> dict[str, float]:
    """Return giou and ciou: IoU = I / (U + epsilon), plus 1 where the union is empty, all in float32."""
    assert counts.image_ids is not None
    both, either = counts.intersection.astype(np.float32), counts.union.astype(np.float32)
    iou = both / (either + np.float32(epsilon)) + (either == 0).astype(np.float32)
    iou_sum = both_sum = either_sum = np.float32(0)
    for group in in_groups(counts.image_ids):
        size = np.float32(len(group))
        iou_sum += _sequential(iou[group]) / size * size
        both_sum += _sequential(both[group])
        either_sum += _sequential(either[group])
    return {
        "giou": float(iou_sum / np.float32(len(counts) + 1e-5)),
        "ciou": float(both_sum / (either_sum + np.float32(1e-10))),
        "ciou in integers": counts.intersection.sum() / counts.union.sum(),
    }


def _sequential(values: np.ndarray) -> np.float32:
    """Add one float32 after the other."""
    return np.add.accumulate(values, dtype=np.float32)[-1]


def _evf_sam(counts: MaskCounts) -> dict[str, float]:
    return _by_image(counts, 1e-10)


def _gsva(counts: MaskCounts) -> dict[str, float]:
    return _by_image(counts, 1e-5)


def _int32(total: int) -> np.float32:
    """Return a sum as an int32 array holds it, which wraps around above 2^31, and as float32 in the end."""
    return np.float32(np.int64(total).astype(np.int32))


def _gsva_gres(counts: MaskCounts) -> dict[str, float]:
    """Score gRefCOCO: the answer "no target" changes neither I nor U of a sample with a target."""
    absent, said = counts.target_area == 0, counts.answered_no_target
    iou = np.where(absent, said.astype(np.float64), counts.intersection / (counts.union + 1e-8))
    union = np.where(absent & said, 0, counts.union)
    there = np.float64(np.count_nonzero(~absent))
    return {
        "giou": float(np.float32(np.add.accumulate(iou)[-1]) / np.float32(len(counts) + 1e-5)),
        "ciou": float(_int32(counts.intersection.sum()) / (_int32(union.sum()) + np.float32(1e-10))),
        "N_acc": np.count_nonzero(absent & said) / np.count_nonzero(absent),
        "T_acc": np.count_nonzero(~absent & ~said) / there,
    }


_FLOAT32 = Fault(
    what="sums of pixels in float32, which are rounded above 2^24 pixels",
    scores=("ciou",),
    right=(("ciou", "ciou in integers"),),
)
_MEANS = "over expressions, added up per image; float32; the mean divides by N + 1e-5"

EVF_SAM = PublicEvaluator(
    name="evf_sam",
    system="EVF-SAM",
    source=Source(
        repository="hustvl/EVF-SAM",
        commit="9935dc52571678b806830821b3ddeacb30e7af07",
        file="eval.py",
        function="validate",
    ),
    masks="SAM's logits resized to the original size, above 0",
    both_empty="IoU 1, counted",
    precision_at="",
    means=_MEANS,
    scored_at="original",
    no_target="counted",
    grouped_by="image_ids",
    formula=_evf_sam,
    mask_rule=SAM_MASKS,
    unit="0 to 1",
    faults=(_FLOAT32,),
)
GSVA = PublicEvaluator(
    name="gsva",
    system="GSVA on RefCOCO",
    source=Source(repository=_GSVA, commit=_GSVA_COMMIT, file="solver.py", function="validate"),
    masks="SAM's logits resized to the original size, above 0",
    both_empty="IoU 1, counted",
    precision_at="",
    means=f"{_MEANS}; IoU with 1e-5 added to the union",
    scored_at="original",
    no_target="counted",
    grouped_by="image_ids",
    formula=_gsva,
    mask_rule=SAM_MASKS,
    unit="0 to 1",
    faults=(_FLOAT32,),
)
GSVA_GRES = PublicEvaluator(
    name="gsva_gres",
    system="GSVA on gRefCOCO",
    source=Source(repository=_GSVA, commit=_GSVA_COMMIT, file="solver.py", function="eval_gres"),
    masks="SAM's logits resized to the original size, at least 0; the rejection token is the answer no target",
    both_empty="IoU 1 if the answer is no target, else 0",
    precision_at="",
    means="over expressions; IoU in float64, its sum and the ratio in float32; sums of pixels in int32; no IoU is "
    "taken away for the answer no target where there is one",
    scored_at="original",
    no_target="needed",
    formula=_gsva_gres,
    mask_rule=GSVA_MASKS,
    unit="0 to 1",
)
