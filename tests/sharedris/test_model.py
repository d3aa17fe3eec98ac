"""Every variant of the paper builds, runs forward and backward, and leaves no parameter without a gradient."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from sharedris.attention_maps import forward_with_attention
from sharedris.baselines.config import ComparedDecoderConfig, ComparedFpnConfig, ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import LossConfig
from sharedris.cpu_kernels import use_cpu_kernels
from sharedris.layers import explicit_attention
from sharedris.loss import segmentation_loss
from sharedris.model import trim_padding
from sharedris.scales import SCALES, large, tiny

FPNS = [
    ("none", ()),
    ("self_attention", (1, 2)),
    ("self_attention", (2,)),
    ("cross_attention", (1, 2)),
    ("bi_direction", (1, 2)),
]
DECODERS = [("none", 0), ("self_attention", 1), ("self_attention", 3), ("cross_attention", 1), ("bi_direction", 2)]


def variant(config: ComparedModelConfig, fpn: tuple, decoder: tuple) -> ComparedModelConfig:
    fusion = config.fpn.fusion
    return dataclasses.replace(
        config,
        fpn=ComparedFpnConfig(kind=fpn[0], stages=fpn[1], fusion=fusion),
        decoder=ComparedDecoderConfig(kind=decoder[0], layers=decoder[1], fusion=fusion),
    )


def inputs(config: ComparedModelConfig, lengths: tuple[int, ...] = (5, 9, 7)) -> tuple[Tensor, Tensor, Tensor]:
    size = config.encoder.image_size
    torch.manual_seed(3)
    token_ids = torch.randint(4, config.encoder.vocabulary_size, (len(lengths), config.encoder.text_tokens))
    padding = torch.arange(config.encoder.text_tokens)[None] >= torch.tensor(lengths)[:, None]
    token_ids = token_ids.masked_fill(padding, 1)
    return torch.randn(len(lengths), 3, size, size), token_ids, padding


@pytest.mark.parametrize("fpn", FPNS, ids=str)
@pytest.mark.parametrize("decoder", DECODERS, ids=str)
def test_variant_runs_and_every_parameter_gets_a_gradient(
    micro_model: ComparedModelConfig, fpn: tuple, decoder: tuple
) -> None:
    config = variant(micro_model, fpn, decoder)
    model = build_model(config).train()
    logits = model(*inputs(config))
    assert logits.shape == (3, config.logits_size, config.logits_size)
    assert logits.dtype == torch.float32
    mask = torch.randint(0, 2, (3, config.encoder.image_size, config.encoder.image_size), dtype=torch.uint8)
    segmentation_loss(logits, mask, LossConfig()).total.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("fpn", FPNS, ids=str)
@pytest.mark.parametrize("decoder", DECODERS, ids=str)
def test_both_attention_paths_give_the_same_logits(
    micro_model: ComparedModelConfig, fpn: tuple, decoder: tuple
) -> None:
    config = variant(micro_model, fpn, decoder)
    model = build_model(config).eval()
    fused = model(*inputs(config))
    with explicit_attention(model):
        torch.testing.assert_close(model(*inputs(config)), fused, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["none", "self_attention", "cross_attention", "bi_direction"])
def test_padding_does_not_change_the_logits(micro_model: ComparedModelConfig, kind: str) -> None:
    stages, layers = ((), 0) if kind == "none" else ((1, 2), 1)
    config = variant(micro_model, (kind, stages), (kind, layers))
    model = build_model(config).eval()
    image, token_ids, padding = inputs(config)
    together = model(image, token_ids, padding)
    for index, length in enumerate((5, 9, 7)):
        alone = model(image[index, None], token_ids[index, None, :length], None)
        torch.testing.assert_close(alone[0], together[index], atol=1e-5, rtol=1e-4)
    other_ids = token_ids.masked_fill(padding, 17)
    torch.testing.assert_close(model(image, other_ids, padding), together)


def test_unused_columns_are_trimmed() -> None:
    token_ids, padding = torch.arange(12).view(2, 6), torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]]).bool()
    ids, mask = trim_padding(token_ids, padding)
    assert ids.shape == (2, 3)
    assert mask is not None
    assert mask.tolist() == [[False] * 3, [False, False, True]]
    ids, mask = trim_padding(token_ids[:1], padding[:1])
    assert ids.shape == (1, 3)
    assert mask is None


@pytest.mark.parametrize("scale", sorted(SCALES))
def test_scales_build(scale: str) -> None:
    with torch.device("meta"):
        model = build_model(SCALES[scale]())
    assert len(model.encoder.layers) == {"tiny": 12, "base": 12, "large": 24}[scale]


def test_tiny_starts_with_small_logits() -> None:
    torch.manual_seed(0)
    model = build_model(tiny()).eval()
    with torch.no_grad():
        logits = model(*inputs(tiny()))
    assert logits.shape == (3, 32, 32)
    assert float(logits.abs().max()) < 1.0


def test_a_few_steps_fit_a_batch(micro_model: ComparedModelConfig) -> None:
    torch.manual_seed(0)
    model = build_model(micro_model).train()
    batch = inputs(micro_model)
    mask = torch.zeros(3, 32, 32, dtype=torch.uint8)
    for index in range(3):
        mask[index, 8 * index : 8 * index + 16, 8:24] = 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = segmentation_loss(model(*batch), mask, LossConfig()).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.35 * losses[0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda: large(fpn=ComparedFpnConfig(stages=(6, 12, 25))), "fpn.stages"),
        (lambda: ComparedFpnConfig(stages=(6, 3)), "fpn.stages"),
        (lambda: ComparedFpnConfig(kind="none"), "fpn.stages"),
        (lambda: ComparedFpnConfig(kind="attention"), "fpn.kind"),
        (lambda: ComparedDecoderConfig(kind="none", layers=1), "decoder.layers"),
        (lambda: ComparedDecoderConfig(layers=0), "decoder.layers"),
        (lambda: tiny(width=66), "fpn.fusion.heads"),
    ],
)
def test_what_cannot_be_built_names_its_field(change, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        change()


@pytest.mark.parametrize("kind", ["self_attention", "cross_attention", "bi_direction"])
def test_attention_maps_are_the_class_tokens_row(micro_model: ComparedModelConfig, kind: str) -> None:
    config = variant(micro_model, (kind, (1, 2)), (kind, 1))
    model = build_model(config).eval()
    maps = forward_with_attention(model, *inputs(config))[1]
    assert list(maps) == ["encoder", "fpn", "decoder"]
    for map_BGG in maps.values():
        assert map_BGG.shape == (3, 4, 4)
        total = map_BGG.sum(dim=(1, 2))
        assert bool((map_BGG > 0).all())
        assert bool((total < 1).all())  # the rest goes to the visual class token and to words
    with explicit_attention(model):
        again = forward_with_attention(model, *inputs(config))[1]
    torch.testing.assert_close(maps["decoder"], again["decoder"], atol=1e-6, rtol=1e-4)


def test_attention_map_equals_the_weights_by_hand(micro_model: ComparedModelConfig) -> None:
    model = build_model(micro_model).eval()
    image, token_ids, padding = inputs(micro_model)
    maps = forward_with_attention(model, image, token_ids, padding)[1]
    with torch.no_grad():
        before = model.encoder(image, token_ids[:, :9], padding[:, :9])[-2]
        layer = model.encoder.layers[-1]
        qkv = torch.cat([layer.visual.project(before.visual_BVD), layer.text.project(before.text_BTD)], dim=1)
        query, key = qkv[:, 17, 0], qkv[:, :, 1]  # row 17 of 1 + 16 visual tokens is the text class token
        scores = torch.einsum("bhd,bnhd->bhn", query, key) / query.shape[-1] ** 0.5
        scores[:, :, 17:][padding[:, None, :9].expand(-1, 2, -1)] = float("-inf")
        want = scores.softmax(-1).mean(1)[:, 1:17].view(3, 4, 4)
    torch.testing.assert_close(maps["encoder"], want)


def test_components_without_attention_have_no_map(micro_model: ComparedModelConfig) -> None:
    config = variant(micro_model, ("none", ()), ("none", 0))
    assert list(forward_with_attention(build_model(config).eval(), *inputs(config))[1]) == ["encoder"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own, inside
def test_compile_gives_the_same_logits(micro_model: ComparedModelConfig) -> None:
    model = build_model(micro_model).eval()
    use_cpu_kernels(model)
    batch = inputs(micro_model)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model)(*batch), model(*batch), atol=1e-4, rtol=1e-3)
