"""Every name that a config accepts has a builder, and our parts need only our own config."""

from __future__ import annotations

from typing import get_args

import torch

from sharedris.baselines.config import ComparedDecoderConfig, ComparedFpnConfig, ComparedModelConfig, SystemKind
from sharedris.build import DECODERS, FPNS, FUSIONS, SYSTEMS, build_model, build_shared_decoder, build_shared_fpn
from sharedris.config import FUSION_KINDS, DecoderConfig, FpnConfig, ModelConfig
from sharedris.encoder import Encoder
from sharedris.model import SharedRis


def test_every_kind_has_a_builder() -> None:
    assert tuple(FUSIONS) == FUSION_KINDS
    assert tuple(FPNS) == ComparedFpnConfig.KINDS
    assert tuple(DECODERS) == ComparedDecoderConfig.KINDS
    assert tuple(SYSTEMS) == get_args(SystemKind)


def test_our_parts_make_the_same_model_from_our_config(micro_model: ComparedModelConfig) -> None:
    ours, fusion = micro_model, micro_model.fpn.fusion
    config = ModelConfig(
        scale=ours.scale,
        width=ours.width,
        encoder=ours.encoder,
        fpn=FpnConfig(stages=ours.fpn.stages, fusion=fusion),
        decoder=DecoderConfig(fusion=fusion),
        head=ours.head,
    )
    torch.manual_seed(0)
    decoder, head = build_shared_decoder(config)
    encoder = Encoder(config.encoder)
    model = SharedRis(config=config, encoder=encoder, fpn=build_shared_fpn(config), decoder=decoder, head=head).eval()
    torch.manual_seed(0)
    other = build_model(micro_model).eval()
    image, ids = torch.zeros(1, 3, 32, 32), torch.full((1, 5), 7)
    assert torch.equal(model(image, ids), other(image, ids))
    assert (config.logits_size, config.vocabulary_size) == (ours.logits_size, ours.vocabulary_size)
    assert config.variant == ours.variant
