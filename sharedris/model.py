"""Shared-RIS: encoder, FPN, decoder and head, put together as the config says.

Shapes: B batch, V visual tokens, T text tokens, S = V + T, H = W side of the logit map (120 for 480 pixels).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sharedris.baselines.config import ComparedModelConfig
from sharedris.baselines.decoder_adapters import LogitsHead, LossOfItsOwn, adapted_cgformer, adapted_dmmi
from sharedris.baselines.dual_encoder import DualEncoder
from sharedris.baselines.full_systems import whole_decoder, whole_fpn
from sharedris.baselines.vitdet import SimplePyramid, TwoWayMask, freeze_unread_text
from sharedris.decoder import MaskHead, SharedDecoder
from sharedris.encoder import Encoder, visible_keys
from sharedris.fpn import build_fpn


class SharedRis(nn.Module):
    """The whole model of figure 3; its parts are passed in, so that an ablation swaps one."""

    def __init__(
        self,
        *,
        config: ComparedModelConfig,
        encoder: Encoder | DualEncoder,
        fpn: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
    ):
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.fpn = fpn
        self.decoder = decoder
        self.head = head

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
        return self.head(tokens_BSW, visual_tokens).float()

    def take_own_loss(self, mask_BHW: Tensor) -> Tensor | None:
        """Return what a compared decoder is trained by beside equation 12, of the last forward pass in training.

        None for ours, which has equation 12 alone. Asked once for each forward pass.
        """
        return self.decoder.take_loss(mask_BHW) if isinstance(self.decoder, LossOfItsOwn) else None

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Recompute each encoder layer in the backward pass instead of keeping what it computed."""
        self.encoder.activation_checkpointing = enabled


def trim_padding(token_ids_BT: Tensor, padding_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Drop the columns that no sample uses, and the mask where nothing is padded; logits do not depend on either."""
    if padding_BT is None or torch.compiler.is_compiling() or padding_BT.is_meta:
        return token_ids_BT, padding_BT
    used_columns = int((~padding_BT).any(dim=0).nonzero().amax()) + 1
    padding_BT = padding_BT[:, :used_columns]
    return token_ids_BT[:, :used_columns], padding_BT if bool(padding_BT.any()) else None


DECODERS: dict[str, Callable[[ComparedModelConfig], nn.Module]] = {"cgformer": adapted_cgformer, "dmmi": adapted_dmmi}
"""Decoders of other papers, which make logits themselves."""


def build_decoder(config: ComparedModelConfig) -> tuple[nn.Module, nn.Module]:
    """Return the decoder that the config names, and the head that belongs to it."""
    if config.decoder.kind in DECODERS:
        return DECODERS[config.decoder.kind](config), LogitsHead()
    return SharedDecoder(config), MaskHead(config)


def build_vitdet(config: ComparedModelConfig) -> SharedRis:
    """Return ViTDet's framework on BEiT-3 (table X)."""
    encoder = Encoder(config.encoder)
    freeze_unread_text(encoder)
    fpn, decoder = SimplePyramid(config), TwoWayMask(config)
    return SharedRis(config=config, encoder=encoder, fpn=fpn, decoder=decoder, head=LogitsHead())


def build_whole(config: ComparedModelConfig) -> SharedRis:
    """Return CGFormer or DMMI as a whole (table VI)."""
    encoder = DualEncoder(config) if config.system.encoder == "swin_bert" else Encoder(config.encoder)
    fpn, decoder = whole_fpn(config), whole_decoder(config)
    return SharedRis(config=config, encoder=encoder, fpn=fpn, decoder=decoder, head=LogitsHead())


SYSTEMS: dict[str, Callable[[ComparedModelConfig], SharedRis]] = {
    "vitdet": build_vitdet,
    "cgformer": build_whole,
    "dmmi": build_whole,
}
"""Systems of other papers as a whole."""


def build_model(config: ComparedModelConfig) -> SharedRis:
    """Return the model that the config describes, with random weights."""
    if config.system.kind in SYSTEMS:
        return SYSTEMS[config.system.kind](config)
    decoder, head = build_decoder(config)
    return SharedRis(config=config, encoder=Encoder(config.encoder), fpn=build_fpn(config), decoder=decoder, head=head)
