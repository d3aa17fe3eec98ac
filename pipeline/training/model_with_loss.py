"""The model and its loss as one module: one forward for DDP, and one graph for torch.compile.

Shapes: B samples of one forward, T text tokens, H = W the input size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.config import TrainConfig
from pipeline.data.dataset.refer_dataset import SampleInfo
from pipeline.precision import autocast
from sharedris.draws import share_keys
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
        self.sample_keys = share_keys(model) if train.draws == "sample" else None

    def forward(
        self,
        image_BCHW: Tensor,
        token_ids_BT: Tensor,
        padding_BT: Tensor | None,
        mask_BHW: Tensor,
        keys_B: Tensor | None = None,
    ) -> LossTerms:
        """Return equation 12, with the auxiliary loss of a compared decoder in the total, the only one with a gradient.

        Args:
            image_BCHW: as the model takes it.
            token_ids_BT: as the model takes it.
            padding_BT: as the model takes it.
            mask_BHW: 0 and 1, at the input size.
            keys_B: what decides the samples' random numbers (`sample_keys_of`); only with `draws="sample"`.
        """
        if self.sample_keys is not None:  # kept until the next forward: a recomputed layer draws the same again
            self.sample_keys.keys_B = keys_B
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


def sample_keys_of(samples: Sequence[SampleInfo], *, seed: int, step: int, device: torch.device) -> Tensor:
    """Return what decides the random numbers of each sample in a step, (B,), int64."""
    texts = [f"{seed} {step} {sample.split} {sample.index}" for sample in samples]
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    keys = [int.from_bytes(digest, "little", signed=True) for digest in digests]
    # From page-locked memory, since the host would wait for any other copy.
    return torch.tensor(keys, pin_memory=device.type == "cuda").to(device, non_blocking=True)
