"""The encoder is Microsoft's BEiT-3: every layer of the golden file, by both attention paths, and their gradients.

`tests/golden/beit3_tiny.safetensors` holds random weights, inputs with padding, and the output of every layer of
`torchscale.model.BEiT3` (MIT license; its metadata names the sizes).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sharedris.beit3 import load_beit3
from sharedris.config import EncoderConfig
from sharedris.encoder import Encoder, visible_keys
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


GOLDEN_FILE = Path(__file__).parent.parent / "golden" / "beit3_tiny.safetensors"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN_FILE)


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


def padded_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Two sentences of 7 and 4 tokens, padded to 9."""
    torch.manual_seed(5)
    padding = torch.arange(9) >= torch.tensor([[7], [4]])
    token_ids = torch.randint(4, GOLDEN.vocabulary_size, (2, 9)).masked_fill(padding, 1)
    return torch.randn(2, 3, 64, 64), token_ids, padding


def test_visible_keys_are_all_but_the_padding() -> None:
    visible = visible_keys(torch.tensor([[False, False, True], [False, True, True]]), 2)
    assert visible is not None
    assert visible.tolist() == [[[[True, True, True, True, False]]], [[[True, True, True, False, False]]]]
    assert visible_keys(None, 2) is None


@pytest.mark.parametrize("explicit", [False, True])
def test_padding_changes_no_token_of_any_layer(*, explicit: bool) -> None:
    torch.manual_seed(0)
    encoder = Encoder(GOLDEN).eval()
    image, token_ids, padding = padded_inputs()
    with torch.no_grad(), explicit_attention(encoder) if explicit else contextlib.nullcontext():
        together = encoder(image, token_ids, padding)
        for sample, length in enumerate((7, 4)):
            single = encoder(image[sample, None], token_ids[sample, None, :length])
            for layer, (got, want) in enumerate(zip(together, single, strict=True)):
                for tokens, expected in ((got.visual_BVD, want.visual_BVD), (got.text_BTD[:, :length], want.text_BTD)):
                    torch.testing.assert_close(tokens[sample], expected[0], atol=1e-5, rtol=1e-4, msg=f"layer {layer}")


def test_every_token_that_is_not_padding_is_attended() -> None:
    torch.manual_seed(0)
    encoder = Encoder(GOLDEN).eval()
    image, token_ids, padding = padded_inputs()
    before = encoder(image, token_ids, padding)[1]
    for position in range(9):
        changed = token_ids.clone()
        changed[:, position] = (changed[:, position] + 50) % 150 + 4
        after = encoder(image, changed, padding)[1]
        for sample in range(2):
            differs = not torch.equal(after.visual_BVD[sample], before.visual_BVD[sample])
            assert differs is not bool(padding[sample, position])


def test_padded_tokens_enter_as_zeros() -> None:
    image, token_ids, padding = padded_inputs()
    text = Encoder(GOLDEN).embedding(image, token_ids, padding).text_BTD
    assert torch.equal((text == 0).all(dim=-1), padding)
