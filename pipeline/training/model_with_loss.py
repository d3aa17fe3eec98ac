"""The model and its loss as one module: one forward for DDP, and one graph for torch.compile.

Shapes: B samples of one forward, T text tokens, H = W the input size.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pipeline.config import TrainConfig
from pipeline.precision import autocast
from sharedris.loss import LossTerms, pop_auxiliary_loss, segmentation_loss


class ModelWithLoss(nn.Module):
    """What is trained; `unwrap` returns the model in it.

    Args:
        model: from images and sentences to logits.
        train: precision and loss.
    """

    def __init__(self, model: nn.Module, train: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.precision, self.loss = train.precision, train.loss

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None, mask_BHW: Tensor) -> Any:
        """Return equation 12 as `LossTerms`, with the auxiliary loss of a compared decoder in the total.

        Only the total has a gradient.
        """
        with autocast(self.precision, image_BCHW.device):
            logits_BHW = self.model(image_BCHW, token_ids_BT, padding_BT)
        terms = segmentation_loss(logits_BHW.float(), mask_BHW, self.loss)
        auxiliary = pop_auxiliary_loss(self.model, mask_BHW)
        total = terms.total if auxiliary is None else terms.total + auxiliary
        return LossTerms(total=total, bce=terms.bce.detach(), dice=terms.dice.detach())


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DDP and loss: evaluation must not run a collective, since ranks hold unequal parts."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    return model.model if isinstance(model, ModelWithLoss) else model
