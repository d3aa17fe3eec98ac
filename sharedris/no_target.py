"""What is done about sentences that name nothing in the image: nothing, or a head that decides it (ours).

The paper has no such head: it trains and scores on sets in which every sentence has a target. ReLA has one.

Shapes: B batch, V visual tokens, T text tokens, S = V + T, W width; of the logit map H and W are the sides.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.config import ModelConfig
from sharedris.loss import AuxiliaryLoss

EMPTY_LOGIT = -100.0
"""Logit of every pixel of an emptied mask; its probability, 4e-44, is below every threshold of use."""


class AlwaysTarget(nn.Module):
    """Passes the logits on; a mask is empty only where no pixel passes the threshold."""

    def forward(self, logits_BHW: Tensor, tokens_BSW: Tensor, visible_B11S: Tensor | None) -> Tensor:
        """Return the logits unchanged."""
        return logits_BHW


class NoTargetHead(AuxiliaryLoss):
    """One logit per sample, from the decoder's pooled tokens; above 0 the sentence names nothing in the image.

    In training the logits of the mask pass unchanged, and the head has its own binary cross-entropy, weighted by
    `model.no_target.weight`. In evaluation the mask of a sample without a target is emptied. The decision needs no
    threshold of the run: it is that of a probability above 0.5, as in ReLA.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = config.no_target.weight
        hidden = config.head.class_token_hidden
        self.norm = nn.LayerNorm(config.width)
        self.judge = nn.Sequential(nn.Linear(config.width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1))
        self._logits_B: Tensor | None = None

    def forward(self, logits_BHW: Tensor, tokens_BSW: Tensor, visible_B11S: Tensor | None) -> Tensor:
        """Return the mask's logits, (B, H, W), emptied in evaluation where there is no target."""
        judged_B = self.judge(self.norm(mean_of_visible(tokens_BSW, visible_B11S)))[:, 0]
        if self.training:
            self._logits_B = judged_B
            return logits_BHW
        return torch.where(judged_B[:, None, None] > 0, EMPTY_LOGIT, logits_BHW)

    def pop_auxiliary_loss(self, mask_BHW: Tensor) -> Tensor | None:
        """Return the weighted cross-entropy of the last forward pass in training.

        A sample without a target is one whose mask is empty at the input size. An object that vanishes there when its
        mask is resized is taken for none: its mask loss asks for an empty mask as well.
        """
        logits_B, self._logits_B = self._logits_B, None
        if logits_B is None:
            return None
        without_target_B = (mask_BHW.flatten(1) == 0).all(dim=1).float()
        return self.weight * functional.binary_cross_entropy_with_logits(logits_B.float(), without_target_B)


def mean_of_visible(tokens_BSW: Tensor, visible_B11S: Tensor | None) -> Tensor:
    """Return the mean over the tokens that are not padding, (B, W)."""
    if visible_B11S is None:
        return tokens_BSW.mean(dim=1)
    visible_BS1 = visible_B11S[:, 0, 0, :, None].to(tokens_BSW.dtype)
    return (tokens_BSW * visible_BS1).sum(dim=1) / visible_BS1.sum(dim=1)
