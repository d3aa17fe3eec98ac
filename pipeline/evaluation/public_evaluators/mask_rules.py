"""How public code makes a mask of a network's map, as protocols on the maps of our models.

Our maps have one probability per pixel. A logit is the difference of two classes, so it is above 0 where their argmax
is the object. What their networks do before that is theirs: CGFormer and SAM resize their logits twice, we resize once.

Shapes: H, W logit map; h, w the size at which the rule scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pipeline.evaluation.protocols import Protocol, Size

if TYPE_CHECKING:
    from torch import Tensor

_SATURATION = 1e-6
"""Probabilities nearer to 0 or 1 are moved here, since float32 rounds them to infinite logits."""


def _bicubic_then_half(probability_HW: Tensor, size: Size, threshold: float) -> Tensor:
    import torch.nn.functional as F

    resized = F.interpolate(probability_HW[None, None], size=size, mode="bicubic", align_corners=True)
    return resized[0, 0] > 0.5


def _argmax_of_logits(*, align_corners: bool, at_zero: bool = False) -> Callable[[Tensor, Size, float], Tensor]:
    """Return a rule that resizes logits and keeps those above 0; `at_zero`: and those of 0."""

    def binarize(probability_HW: Tensor, size: Size, threshold: float) -> Tensor:
        import torch.nn.functional as F

        logits_HW = probability_HW.logit(eps=_SATURATION)
        resized = F.interpolate(logits_HW[None, None], size=size, mode="bilinear", align_corners=align_corners)[0, 0]
        return resized >= 0 if at_zero else resized > 0

    return binarize


def _argmax_rule(
    name: str, who: str, scored_at: Literal["original", "input"], *, align_corners: bool, at_zero: bool = False
) -> Protocol:
    corners = " with aligned corners" if align_corners else ""
    size = "the model's input size" if scored_at == "input" else "the original image size"
    kept = "at least 0" if at_zero else "argmax of two classes"
    return Protocol(
        name=name,
        version=1,
        rule=f"masks as {who} makes them: bilinear resize of logits{corners} to {size}, {kept}; "
        "counted as every protocol here",
        scored_at=scored_at,
        binarize=_argmax_of_logits(align_corners=align_corners, at_zero=at_zero),
    )


CGFORMER_MASKS = Protocol(
    name="cgformer_masks",
    version=1,
    rule="masks as CGFormer's test makes them: sigmoid, bicubic resize with aligned corners to the original image "
    "size, threshold 0.5; counted as every protocol here",
    scored_at="original",
    binarize=_bicubic_then_half,
)
LAVT_MASKS = _argmax_rule("lavt_masks", "LAVT's test", "input", align_corners=True)
DMMI_MASKS = _argmax_rule("dmmi_masks", "DMMI's test", "input", align_corners=True)
RELA_MASKS = _argmax_rule("rela_masks", "ReLA's test", "input", align_corners=False)
R_REFCOCO_MASKS = _argmax_rule("r_refcoco_masks", "RefSegformer's test", "original", align_corners=True)
SAM_MASKS = _argmax_rule("sam_masks", "EVF-SAM's test", "original", align_corners=False)
GSVA_MASKS = _argmax_rule("gsva_masks", "GSVA's test on gRefCOCO", "original", align_corners=False, at_zero=True)

MASK_RULES = (CGFORMER_MASKS, LAVT_MASKS, DMMI_MASKS, RELA_MASKS, R_REFCOCO_MASKS, SAM_MASKS, GSVA_MASKS)
