"""The encoder is Microsoft's BEiT-3: every layer of the golden file, by both attention paths, and their gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sharedris.beit3 import load_beit3
from sharedris.config import EncoderConfig
from sharedris.encoder import Encoder
from sharedris.layers import ExplicitAttention, FusedAttention, explicit_attention

GOLDEN = EncoderConfig(
    width=48,
    layers=4,
    heads=4,
    mlp_width=192,
    patch_size=16,
    image_size=64,
    vocabulary_size=200,
    text_tokens=12,
    drop_path=0.0,
)


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    path: Path = request.getfixturevalue("shared_data") / "beit3-golden" / "tiny.safetensors"
    return load_file(path)


@pytest.fixture
def encoder(golden: dict[str, Tensor], tmp_path: Path) -> Encoder:
    weights = {name.removeprefix("model."): value for name, value in golden.items() if name.startswith("model.")}
    save_file(weights, tmp_path / "official.safetensors")
    encoder = Encoder(GOLDEN, final_norm=True).eval()
    load_beit3(encoder, tmp_path / "official.safetensors")
    return encoder


def run(encoder: Encoder, golden: dict[str, Tensor]) -> list[Tensor]:
    outputs = encoder(golden["input.images"], golden["input.tokens"], golden["input.padding"])
    return [*(streams.joined() for streams in outputs), encoder.normalize(outputs[-1]).joined()]


@pytest.mark.parametrize("explicit", [False, True])
def test_every_layer_agrees_with_torchscale(encoder: Encoder, golden: dict[str, Tensor], *, explicit: bool) -> None:
    if explicit:
        with explicit_attention(encoder):
            outputs = run(encoder, golden)
    else:
        outputs = run(encoder, golden)
    expected = [*(golden[f"output.hidden.{index}"] for index in range(5)), golden["output.encoder_out"]]
    for got, want in zip(outputs, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)  # padded queries included


def test_gradients_of_both_paths_agree(encoder: Encoder, golden: dict[str, Tensor]) -> None:
    def gradients() -> dict[str, Tensor]:
        encoder.zero_grad()
        run(encoder, golden)[-1].square().sum().backward()
        return {name: parameter.grad.clone() for name, parameter in encoder.named_parameters()}

    fused = gradients()
    with explicit_attention(encoder):
        explicit = gradients()
    for name, gradient in fused.items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(gradient / scale, explicit[name] / scale, atol=1e-5, rtol=0, msg=name)


def test_the_explicit_path_is_left_again(encoder: Encoder) -> None:
    with explicit_attention(encoder):
        assert isinstance(encoder.layers[0].attend, ExplicitAttention)
    assert isinstance(encoder.layers[0].attend, FusedAttention)


def test_stochastic_depth_drops_whole_samples_of_both_modalities() -> None:
    torch.manual_seed(0)
    config = EncoderConfig(width=16, layers=2, heads=2, mlp_width=32, patch_size=8, image_size=16, vocabulary_size=50)
    layer = Encoder(config).layers[1].train()
    layer.drop_path = 0.5
    visual, text = torch.randn(64, 5, 16), torch.randn(64, 4, 16)
    out = layer(visual, text, None)
    same_visual = (out.visual_BVD == visual).flatten(1).all(dim=1)
    same_text = (out.text_BTD == text).flatten(1).all(dim=1)
    assert torch.equal(same_visual, same_text)
    assert 4 <= int(same_visual.sum()) <= 32  # both sublayers dropped: a quarter of the samples


def test_checkpointing_gives_the_same_gradients(encoder: Encoder, golden: dict[str, Tensor]) -> None:
    def gradient() -> Tensor:
        encoder.zero_grad()
        run(encoder.train(), golden)[-1].square().sum().backward()
        return encoder.embedding.patches.weight.grad.clone()

    plain = gradient()
    encoder.activation_checkpointing = True
    torch.testing.assert_close(gradient(), plain)


def test_a_wrong_image_size_is_named() -> None:
    encoder = Encoder(GOLDEN)
    with pytest.raises(ValueError, match="64x64"):
        encoder(torch.zeros(1, 3, 32, 32), torch.zeros(1, 4, dtype=torch.int64))
