"""Every module by its name in the config, and the model put together from them.

To add a module, write it in a new file and add its name here and to `KINDS` of its config.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sharedris.baselines.config import ComparedModelConfig
from sharedris.baselines.cris_fpn import CrisFpn
from sharedris.baselines.decoder_adapters import LogitsHead, adapted_cgformer, adapted_dmmi
from sharedris.baselines.dual_encoder import DualEncoder
from sharedris.baselines.full_systems import full_decoder, full_fpn
from sharedris.baselines.pwam import PwamFusion
from sharedris.baselines.vitdet import SimplePyramid, TwoWayMask, freeze_unread_text
from sharedris.config import FusionConfig, ModelConfig
from sharedris.decoder import DecoderLayer, MaskHead, SharedDecoder
from sharedris.encoder import Encoder
from sharedris.fpn import NoFpn, SharedFpn
from sharedris.fusion import BiDirectionFusion, CrossAttentionFusion, Fusion, SelfAttentionFusion
from sharedris.model import SharedRis

DecoderAndHead = tuple[nn.Module, nn.Module]

FUSIONS: dict[str, Callable[[int, FusionConfig], Fusion]] = {
    "self_attention": SelfAttentionFusion,
    "cross_attention": CrossAttentionFusion,
    "bi_direction": BiDirectionFusion,
}
"""Fusion modules of FPN and decoder (tables VII b and VIII b)."""


def build_shared_fpn(config: ModelConfig) -> SharedFpn:
    """Return the Shared FPN with the fusion module that the config names."""
    return SharedFpn(config, lambda: FUSIONS[config.fpn.kind](config.width, config.fpn.fusion))


def build_pwam_fpn(config: ComparedModelConfig) -> SharedFpn:
    """Return the Shared FPN with PWAM as its fusion module (table IV)."""
    return SharedFpn(config, lambda: PwamFusion(config.width, config.fpn))


def build_shared_decoder(config: ModelConfig) -> DecoderAndHead:
    """Return the shared decoder with the fusion module that the config names, and the mask head."""
    options = config.decoder
    layers = (
        DecoderLayer(FUSIONS[options.kind](config.width, options.fusion), config.width, options.fusion.mlp_width)
        for _ in range(options.layers)
    )
    return SharedDecoder(layers), MaskHead(config)


FPNS: dict[str, Callable[[ComparedModelConfig], nn.Module]] = {
    "none": NoFpn,
    **dict.fromkeys(FUSIONS, build_shared_fpn),
    "cris": CrisFpn,
    "pwam": build_pwam_fpn,
}
"""FPNs by `fpn.kind` (tables IV and VII)."""

DECODERS: dict[str, Callable[[ComparedModelConfig], DecoderAndHead]] = {
    "none": build_shared_decoder,
    **dict.fromkeys(FUSIONS, build_shared_decoder),
    "cgformer": lambda config: (adapted_cgformer(config), LogitsHead()),
    "dmmi": lambda config: (adapted_dmmi(config), LogitsHead()),
}
"""Decoders by `decoder.kind`, each with its head (tables V and VIII)."""


def build_fpn(config: ComparedModelConfig) -> nn.Module:
    """Return the FPN that the config names."""
    return FPNS[config.fpn.kind](config)


def build_decoder(config: ComparedModelConfig) -> DecoderAndHead:
    """Return the decoder that the config names, and its head."""
    return DECODERS[config.decoder.kind](config)


def build_shared_ris(config: ComparedModelConfig) -> SharedRis:
    """Return our framework, with the FPN and the decoder that the config names."""
    decoder, head = build_decoder(config)  # first: the order decides which random numbers each part draws
    return SharedRis(config=config, encoder=Encoder(config.encoder), fpn=build_fpn(config), decoder=decoder, head=head)


def build_vitdet(config: ComparedModelConfig) -> SharedRis:
    """Return ViTDet's framework on BEiT-3 (table X)."""
    encoder = Encoder(config.encoder)
    freeze_unread_text(encoder)
    fpn, decoder = SimplePyramid(config), TwoWayMask(config)
    return SharedRis(config=config, encoder=encoder, fpn=fpn, decoder=decoder, head=LogitsHead())


def build_full_system(config: ComparedModelConfig) -> SharedRis:
    """Return the full CGFormer or DMMI (table VI)."""
    encoder = DualEncoder(config) if config.system.encoder == "swin_bert" else Encoder(config.encoder)
    fpn, decoder = full_fpn(config), full_decoder(config)
    return SharedRis(config=config, encoder=encoder, fpn=fpn, decoder=decoder, head=LogitsHead())


SYSTEMS: dict[str, Callable[[ComparedModelConfig], SharedRis]] = {
    "shared_ris": build_shared_ris,
    "vitdet": build_vitdet,
    "cgformer": build_full_system,
    "dmmi": build_full_system,
}
"""Frameworks by `system.kind` (tables VI and X)."""


def build_model(config: ComparedModelConfig) -> SharedRis:
    """Return the model that the config describes, with random weights."""
    return SYSTEMS[config.system.kind](config)
