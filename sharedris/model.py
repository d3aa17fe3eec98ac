"""Shared-RIS: encoder, FPN, decoder and head in sequence; `sharedris/build.py` builds them from a config.

Shapes: B batch, V visual tokens, T text tokens, S = V + T, H = W side of the logit map (120 for 480 pixels).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sharedris.config import ModelConfig
from sharedris.encoder import ImageTextEncoder, visible_keys
from sharedris.loss import pop_auxiliary_loss
from sharedris.no_target import AlwaysTarget


class SharedRis(nn.Module):
    """The complete model of figure 3; its parts are passed in, so that an ablation swaps one."""

    def __init__(
        self,
        *,
        config: ModelConfig,
        encoder: ImageTextEncoder,
        fpn: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        no_target: nn.Module | None = None,
    ):
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.fpn = fpn
        self.decoder = decoder
        self.head = head
        self.no_target = AlwaysTarget() if no_target is None else no_target

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> Tensor:
        """Return mask logits, float (B, H, W) with H = W = `config.logits_size`.

        Args:
            image_BCHW: image, mean and standard deviation 0.5, at `config.encoder.image_size`.
            token_ids_BT: ids from the tokenizer; the first is the text class token.
            padding_BT: True at padding; None when nothing is padded.
        """
        token_ids_BT, padding_BT = trim_padding(token_ids_BT, padding_BT)
        outputs = self.encoder(image_BCHW, token_ids_BT, padding_BT)
        visual_tokens = outputs[-1].visual_BVD.shape[1]
        visible_B11S = visible_keys(padding_BT, visual_tokens)
        tokens_BSW = self.decoder(self.fpn(outputs, visible_B11S), visible_B11S, visual_tokens)
        logits_BHW: Tensor = self.head(tokens_BSW, visual_tokens)
        judged_BHW: Tensor = self.no_target(logits_BHW.float(), tokens_BSW, visible_B11S)
        return judged_BHW

    def pop_auxiliary_loss(self, mask_BHW: Tensor) -> Tensor | None:
        """Return the loss that a compared decoder and a no-target head add to equation 12 for the last forward pass.

        None for our decoder without such a head. Call once per forward pass in training.
        """
        losses = [pop_auxiliary_loss(part, mask_BHW) for part in (self.decoder, self.no_target)]
        found = [loss for loss in losses if loss is not None]
        return sum(found[1:], found[0]) if found else None

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Recompute each encoder layer in the backward pass instead of keeping what it computed."""
        self.encoder.activation_checkpointing = enabled


def trim_padding(token_ids_BT: Tensor, padding_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Drop the columns that are padding in every sample, and a mask without padding; the logits do not change.

    Only on a CPU and outside of graphs: a GPU would have to finish its work before it could tell which columns these
    are, and a graph has fixed shapes. There all columns stay; they are 2 % of the tokens.
    """
    if padding_BT is None or torch.compiler.is_compiling() or padding_BT.device.type != "cpu":
        return token_ids_BT, padding_BT
    used_columns = int((~padding_BT).any(dim=0).nonzero().amax()) + 1
    padding_BT = padding_BT[:, :used_columns]
    return token_ids_BT[:, :used_columns], padding_BT if bool(padding_BT.any()) else None
