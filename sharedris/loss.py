"""The training loss: weighted binary cross-entropy and Dice (equation 12).

Shapes: B batch, H and W sides of the logit map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from sharedris.config import LossConfig
from sharedris.registry import LOSSES, resolve

DICE_SMOOTHING = 1.0
"""Pixels added to numerator and denominator of Dice, so that an empty mask has a finite loss."""


class AuxiliaryLoss(nn.Module):
    """A decoder that is trained by a loss in addition to equation 12."""

    def pop_auxiliary_loss(self, mask_BHW: Tensor) -> Tensor | None:
        """Return the loss of the last forward pass in training and clear it; None when there is none."""
        raise NotImplementedError


def pop_auxiliary_loss(module: nn.Module, mask_BHW: Tensor) -> Tensor | None:
    """Return the auxiliary loss of a module that has the method of `AuxiliaryLoss`; None for any other module."""
    pop: Callable[[Tensor], Tensor | None] | None = getattr(module, "pop_auxiliary_loss", None)
    return None if pop is None else pop(mask_BHW)


class LossTerms(NamedTuple):
    """Scalars; `total` is the weighted sum to minimize."""

    total: Tensor
    bce: Tensor
    dice: Tensor


def segmentation_loss(logits_BHW: Tensor, mask_BHW: Tensor, config: LossConfig) -> LossTerms:
    """Return the loss of logits against binary masks at the model's input size, in float32 at every precision.

    Args:
        logits_BHW: logits, before the sigmoid.
        mask_BHW: 0 and 1, at the input size; compared at the logits' size, or at the input size
            with `config.resolution == "input"`.
        config: weights and resolution, and the terms that are added to the two.
    """
    logits_BHW, mask_BHW = logits_BHW.float(), mask_BHW.float()
    if config.resolution == "input":
        logits_BHW = functional.interpolate(logits_BHW[:, None], size=mask_BHW.shape[-2:], mode="bilinear")[:, 0]
    else:
        mask_BHW = functional.interpolate(mask_BHW[:, None], size=logits_BHW.shape[-2:], mode="nearest-exact")[:, 0]
    terms = [(weight, resolve(LOSSES[name])(logits_BHW, mask_BHW)) for name, weight in config.terms]
    bce = functional.binary_cross_entropy_with_logits(logits_BHW, mask_BHW)
    dice = _dice_loss(logits_BHW.sigmoid(), mask_BHW)
    total = config.bce * bce + config.dice * dice
    for weight, term in terms:
        total = total + weight * term
    return LossTerms(total=total, bce=bce, dice=dice)


def _dice_loss(probability_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Return the mean over samples of 1 - (2 |P M| + e) / (|P| + |M| + e), with e = DICE_SMOOTHING.

    An empty mask M leaves |P| / (|P| + e): 0 for an empty prediction, and rising with each pixel of it. So it is never
    0 / 0, and its gradient, e / (|P| + e)^2 per pixel, empties the prediction, most strongly where it is nearly empty.
    Where that vanishes, binary cross-entropy still has the gradient P / (H W) at each pixel's logit.
    """
    overlap_B = (probability_BHW * mask_BHW).sum(dim=(1, 2))
    size_B = probability_BHW.sum(dim=(1, 2)) + mask_BHW.sum(dim=(1, 2))
    return (1 - (2 * overlap_B + DICE_SMOOTHING) / (size_B + DICE_SMOOTHING)).mean()
