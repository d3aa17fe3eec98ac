"""Details that change a probability, a loss or a map and that no larger test sees."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from sharedris import cpu_kernels
from sharedris.attention_maps import forward_with_attention
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import load_model, save_model
from sharedris.config import LossConfig
from sharedris.cpu_kernels import CpuLinear
from sharedris.fusion import PairAttention, _row_of_pair
from sharedris.layers import attention_weights
from sharedris.loss import segmentation_loss
from sharedris.predictor import Predictor, image_tensor, upright_rgb
from sharedris.sentencepiece_tokenizer import SentencePieceTokenizer, train_tokenizer
from tests.sharedris.test_model import inputs, variant


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceTokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "t.model"
    train_tokenizer([f"the {word} one on the left" for word in ("red", "green", "blue")], path, 1024)
    return SentencePieceTokenizer(path, 20)


class Steps(nn.Module):
    """Logits of two columns, -4 and 4, for every sentence."""

    def __init__(self, config: ComparedModelConfig) -> None:
        super().__init__()
        self.config = config
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor) -> Tensor:
        return torch.tensor([[-4.0, 4.0]]).expand(len(image_BCHW), 2, 2)


def test_probabilities_are_resized_bilinearly_by_pixel_centers(
    tokenizer: SentencePieceTokenizer, micro_model: ComparedModelConfig
) -> None:
    predictor = Predictor(Steps(micro_model), tokenizer, threshold=0.5)  # type: ignore[arg-type]
    prediction = predictor.predict(Image.new("RGB", (4, 6)), "left")
    low, high = torch.tensor([-4.0, 4.0]).sigmoid().tolist()
    step = high - low
    # Centers of four columns lie at -0.25, 0.25, 0.75 and 1.25 of the map's two.
    expected = [low, low + 0.25 * step, low + 0.75 * step, high]
    assert prediction.probability_HW == pytest.approx(np.tile(expected, (6, 1)), abs=1e-6)


def test_a_pixel_at_the_threshold_is_background(
    tokenizer: SentencePieceTokenizer, micro_model: ComparedModelConfig
) -> None:
    model = Steps(micro_model)
    model.forward = lambda image, ids, padding: torch.zeros(len(image), 2, 2)  # type: ignore[method-assign]
    prediction = Predictor(model, tokenizer, threshold=0.5).predict(Image.new("RGB", (4, 6)), "left")  # type: ignore[arg-type]
    assert not prediction.mask_HW.any()


def test_each_sentence_has_its_own_attention_map(
    tokenizer: SentencePieceTokenizer, micro_model: ComparedModelConfig
) -> None:
    torch.manual_seed(0)
    predictor = Predictor(build_model(micro_model), tokenizer)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 70, 3), dtype=np.uint8))
    sentences = ["the red one", "the blue one on the left", "left"]
    together = predictor.predict_all(image, sentences, attention=True)
    for prediction in together:
        alone = predictor.predict(image, prediction.sentence, attention=True)
        for name, map_GG in prediction.attention_GG.items():
            np.testing.assert_allclose(map_GG, alone.attention_GG[name], atol=1e-6)
    assert not np.allclose(together[0].attention_GG["fpn"], together[1].attention_GG["fpn"], atol=1e-6)


def test_images_are_resized_bicubically() -> None:
    """Next to an edge the cubic kernel goes below the darker side; a bilinear one stays between both."""
    pixels = np.full((8, 8, 3), 100, dtype=np.uint8)
    pixels[:, 4:] = 200
    assert image_tensor(Image.fromarray(pixels), 32).min() < 100 / 127.5 - 1 - 0.01


def test_sixteen_bits_are_rounded() -> None:
    image = Image.fromarray(np.full((4, 4), 257 * 40 + 200, dtype=np.uint16))
    assert set(np.asarray(upright_rgb(image)).ravel()) == {41}


def test_the_fingerprint_is_sixteen_digits_of_sha_256(tokenizer: SentencePieceTokenizer) -> None:
    digest = hashlib.sha256(tokenizer.path.read_bytes()).hexdigest()
    assert tokenizer.fingerprint == digest[:16]


def test_a_model_folder_keeps_its_precision_and_threshold(
    tokenizer: SentencePieceTokenizer, micro_model: ComparedModelConfig, tmp_path: Path
) -> None:
    save_model(tmp_path / "run", build_model(micro_model), micro_model, tokenizer.path, 0.61, "run", "bf16")
    saved = load_model(tmp_path / "run")
    assert (saved.threshold, saved.precision) == (0.61, "bf16")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["precision"] == "bf16"


def test_logits_are_enlarged_by_pixel_centers() -> None:
    logits = torch.tensor([[[-4.0, 4.0], [-4.0, 4.0]]])
    mask = torch.zeros(1, 2, 4)
    mask[..., 2:] = 1
    terms = segmentation_loss(logits, mask, LossConfig(resolution="input"))
    expected = torch.tensor([-4.0, -2.0, 2.0, 4.0]).expand(1, 2, 4)
    assert terms.bce.item() == pytest.approx(functional.binary_cross_entropy_with_logits(expected, mask).item())


def test_the_decoders_map_is_that_of_its_last_layer(micro_model: ComparedModelConfig) -> None:
    torch.manual_seed(0)
    config = variant(micro_model, ("self_attention", (1, 2)), ("self_attention", 2))
    model = build_model(config).eval()
    seen: list[Tensor] = []

    def record(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        weights = attention_weights(given[0][:, :, 17:18], given[1], given[3])
        seen.append(weights[:, :, 0, 1:17].mean(dim=1).view(-1, 4, 4))

    model.decoder.layers[-1].fusion.attention.attend.register_forward_pre_hook(record)
    maps = forward_with_attention(model, *inputs(config))[1]
    torch.testing.assert_close(maps["decoder"], seen[0])


def test_the_row_of_a_pair_is_that_of_the_first_text_token() -> None:
    torch.manual_seed(0)
    visual, text = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 6, 4)
    row = _row_of_pair((visual, text), 5)
    weights = attention_weights(row.query_BH1d, row.key_BHMd, row.visible_B11M)
    _, to_text = PairAttention()(visual, text, torch.eye(5).expand(2, 3, 5, 5), torch.zeros(2, 3, 6, 4), None)
    torch.testing.assert_close(weights[:, :, 0], to_text[:, :, 0])


def test_autocast_casts_a_layer_over_64_rows() -> None:
    torch.manual_seed(0)
    layer, tokens = CpuLinear(48, 80), torch.randn(2, 32, 48)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cast = functional.linear(tokens, layer.weight, layer.bias)
        got = layer(tokens)
    assert cpu_kernels.FEWEST_ROWS_TO_CAST == 64
    assert torch.equal(got, cast)
    assert not torch.equal(got, functional.linear(tokens, layer.weight, layer.bias).bfloat16())
