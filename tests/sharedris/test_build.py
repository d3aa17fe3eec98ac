"""Every name that a config accepts has a builder, and our parts need only our own config."""

from __future__ import annotations

import pytest
import torch

from sharedris import registry
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model, build_shared_decoder, build_shared_fpn
from sharedris.config import DecoderConfig, FpnConfig, ModelConfig
from sharedris.encoder import Encoder
from sharedris.model import SharedRis

BUILDERS = {
    **{
        f"{kind} {name}": builder
        for kind in ("FUSIONS", "FPNS", "DECODERS", "SYSTEMS", "LOSSES")
        for name, builder in getattr(registry, kind).items()
    },
    **{f"ENCODERS {name}": kind.build for name, kind in registry.ENCODERS.items()},
    **{f"weights {name}": kind.load_weights for name, kind in registry.ENCODERS.items() if kind.load_weights},
}


@pytest.mark.parametrize("name", BUILDERS)
def test_every_name_has_a_builder(name: str) -> None:
    assert callable(registry.resolve(BUILDERS[name]))


def test_no_fusion_hides_behind_an_fpn_or_a_decoder_of_its_name() -> None:
    assert not set(registry.FUSIONS) & {*registry.FPNS, *registry.DECODERS}
    assert set(registry.fpn_kinds()) == {*registry.FPNS, *registry.FUSIONS}
    assert set(registry.decoder_kinds()) == {*registry.DECODERS, *registry.FUSIONS}


def test_an_unknown_name_is_refused_with_the_closest_one() -> None:
    with pytest.raises(ValueError, match=r"fpn.kind: unknown kind 'self_atention', did you mean 'self_attention'\?"):
        FpnConfig(kind="self_atention")
    with pytest.raises(ValueError, match=r"known: none \(a plugin adds more: --plugin FILE\)"):
        registry.require_known("mine", [], "train.loss.terms", "loss term")


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
