"""The model put together from the modules that its config names; `sharedris/registry.py` lists them."""

from __future__ import annotations

from typing import cast

from torch import nn

from sharedris.baselines.config import ComparedModelConfig
from sharedris.baselines.decoder_adapters import LogitsHead, adapted_cgformer, adapted_dmmi
from sharedris.baselines.full_systems import full_decoder, full_fpn
from sharedris.baselines.pwam import PwamFusion
from sharedris.baselines.vitdet import SimplePyramid, TwoWayMask
from sharedris.config import FusionConfig, ModelConfig
from sharedris.decoder import DecoderLayer, MaskHead, SharedDecoder
from sharedris.encoder import Encoder, ImageTextEncoder
from sharedris.fpn import SharedFpn
from sharedris.model import SharedRis
from sharedris.no_target import AlwaysTarget
from sharedris.registry import DECODERS, ENCODERS, FPNS, FUSIONS, NO_TARGETS, SYSTEMS, resolve

DecoderAndHead = tuple[nn.Module, nn.Module]


def build_fusion(kind: str, width: int, config: FusionConfig) -> nn.Module:
    """Return a new fusion module of a kind."""
    return cast(nn.Module, resolve(FUSIONS[kind])(width, config))


def build_shared_fpn(config: ModelConfig) -> SharedFpn:
    """Return the Shared FPN with the fusion module that the config names."""
    return SharedFpn(config, lambda: build_fusion(config.fpn.kind, config.width, config.fpn.fusion))


def build_pwam_fpn(config: ComparedModelConfig) -> SharedFpn:
    """Return the Shared FPN with PWAM as its fusion module (table IV)."""
    return SharedFpn(config, lambda: PwamFusion(config.width, config.fpn))


def build_shared_decoder(config: ModelConfig) -> DecoderAndHead:
    """Return the shared decoder with the fusion module that the config names, and the mask head."""
    options = config.decoder
    layers = (
        DecoderLayer(build_fusion(options.kind, config.width, options.fusion), config.width, options.fusion.mlp_width)
        for _ in range(options.layers)
    )
    return SharedDecoder(layers), MaskHead(config)


def build_cgformer_decoder(config: ComparedModelConfig) -> DecoderAndHead:
    """Return CGFormer's decoder behind our FPN (table V)."""
    return adapted_cgformer(config), LogitsHead()


def build_dmmi_decoder(config: ComparedModelConfig) -> DecoderAndHead:
    """Return DMMI's decoder behind our FPN (table V)."""
    return adapted_dmmi(config), LogitsHead()


def build_fpn(config: ComparedModelConfig) -> nn.Module:
    """Return the FPN that the config names: an FPN, or the Shared FPN around a fusion module."""
    kind = config.fpn.kind
    return cast(nn.Module, resolve(FPNS[kind])(config)) if kind in FPNS else build_shared_fpn(config)


def build_decoder(config: ComparedModelConfig) -> DecoderAndHead:
    """Return the decoder that the config names, and its head: a decoder, or the shared one around a fusion module."""
    kind = config.decoder.kind
    return cast(DecoderAndHead, resolve(DECODERS[kind])(config)) if kind in DECODERS else build_shared_decoder(config)


def build_beit3(config: ModelConfig) -> Encoder:
    """Return BEiT-3 without its final norm."""
    return Encoder(config.encoder)


def build_encoder(config: ComparedModelConfig) -> ImageTextEncoder:
    """Return the encoder that the config names."""
    return cast(ImageTextEncoder, resolve(ENCODERS[config.system.encoder].build)(config))


def build_shared_ris(config: ComparedModelConfig) -> SharedRis:
    """Return our framework, with the encoder, the FPN and the decoder that the config names."""
    decoder, head = build_decoder(config)  # first: the order decides which random numbers each part draws
    encoder, fpn = build_encoder(config), build_fpn(config)
    no_target = build_no_target(config)  # last: with it the other parts start from the same weights as without
    return SharedRis(config=config, encoder=encoder, fpn=fpn, decoder=decoder, head=head, no_target=no_target)


def build_always_target(config: ComparedModelConfig) -> nn.Module:
    """Return the module of a model that does nothing about sentences without a target."""
    return AlwaysTarget()


def build_no_target(config: ComparedModelConfig) -> nn.Module:
    """Return what the config does about sentences without a target."""
    return cast(nn.Module, resolve(NO_TARGETS[config.no_target.kind])(config))


def build_vitdet(config: ComparedModelConfig) -> SharedRis:
    """Return ViTDet's framework on a joint encoder (table X)."""
    encoder = build_encoder(config)
    encoder.freeze_unread_text()
    fpn, decoder = SimplePyramid(config), TwoWayMask(config)
    return SharedRis(config=config, encoder=encoder, fpn=fpn, decoder=decoder, head=LogitsHead())


def build_full_system(config: ComparedModelConfig) -> SharedRis:
    """Return the full CGFormer or DMMI (table VI)."""
    encoder = build_encoder(config)
    fpn, decoder = full_fpn(config), full_decoder(config)
    return SharedRis(config=config, encoder=encoder, fpn=fpn, decoder=decoder, head=LogitsHead())


def build_model(config: ComparedModelConfig) -> SharedRis:
    """Return the model that the config describes, with random weights.

    A system that a plugin adds may be any module that satisfies `sharedris.contracts.System`.
    """
    return cast(SharedRis, resolve(SYSTEMS[config.system.kind])(config))
