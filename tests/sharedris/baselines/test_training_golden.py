"""What the compared decoders do only in training, compared with their authors' code: noise, gradients, losses.

The files under tests/golden/baselines are made by tests/golden/make_baselines.py, which names where the code is from.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sharedris.baselines.cgformer_decoder import CgformerDecoder, group_loss
from sharedris.baselines.config import CgformerConfig, DmmiConfig
from sharedris.baselines.decoder_adapters import contrastive_loss, mean_of_words, reconstruction_loss
from sharedris.baselines.dmmi_decoder import ImageToText
from tests.sharedris.baselines.test_baselines_golden import CGFORMER, TOLERANCE, load_theirs, read


def test_cgformer_groups_noisy_pixels_and_their_gradient_is_the_soft_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, _, _ = read("cgformer")
    _, given, expected = read("cgformer_training")
    options = CgformerConfig(pyramid_widths=(16, 8, 8, 4), token_width=8, dropout=0.0)
    decoder = CgformerDecoder(options, text_width=12, grid=4)
    load_theirs(decoder, weights, CGFORMER)
    maps, words = [given[f"map.{i}"].requires_grad_() for i in range(4)], given["words"].requires_grad_()
    drawn = iter([given[f"noise.{i}"] for i in range(3)])
    monkeypatch.setattr("sharedris.draws.RandomModule.uniform", lambda *_, **__: next(drawn).clone())
    logits_BHW, groups = decoder.train()(maps, words, given["used"].bool()[:, None])
    for index, groups_BNHW in enumerate(groups):
        torch.testing.assert_close(groups_BNHW, expected[f"groups.{index}"], **TOLERANCE)
        assert 0.1 < groups_BNHW[:, 1].mean() < 0.9
    loss = logits_BHW.square().mean()
    loss = loss + sum((groups[i].flatten(2) * given[f"noise.{i}"]).mean() for i in range(3))
    torch.testing.assert_close(loss, expected["loss"], **TOLERANCE)
    loss.backward()
    for name, tensor in (("words", words), *((f"map.{i}", map_BCHW) for i, map_BCHW in enumerate(maps))):
        gradient = expected[f"gradient.{name}"]
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


def test_loss_of_cgformers_groups() -> None:
    _, given, expected = read("cgformer_loss")
    groups = [given[f"groups.{i}"].requires_grad_() for i in range(3)]
    loss = group_loss(groups, given["mask"], CgformerConfig().group_loss)
    torch.testing.assert_close(loss, expected["loss"], **TOLERANCE)
    loss.backward()
    for index, groups_BNHW in enumerate(groups):
        torch.testing.assert_close(groups_BNHW.grad, expected[f"gradient.{index}"], rtol=1e-5, atol=1e-9)


DmmiLosses = tuple[ImageToText, dict[str, Tensor], dict[str, Tensor]]


@pytest.fixture
def dmmi_losses() -> DmmiLosses:
    weights, given, expected = read("dmmi_losses")
    branch = ImageToText(DmmiConfig(width=16, mlp_width=24))
    ours = branch.align.state_dict()
    branch.align.load_state_dict({kind: weights[f"align_lan.0.{kind}"].reshape_as(ours[kind]) for kind in ours})
    return branch, given, expected


def test_dmmi_pairs_images_with_sentences(dmmi_losses: DmmiLosses) -> None:
    branch, given, expected = dmmi_losses
    image, words = given["image"].requires_grad_(), given["words"].requires_grad_()

    def paired(used_BT: Tensor) -> Tensor:
        return contrastive_loss(image, mean_of_words(branch.align(words), used_BT), DmmiConfig().temperature)

    all_used = torch.ones(3, 7, dtype=torch.bool)
    loss = paired(all_used)
    torch.testing.assert_close(loss, expected["pairing"], **TOLERANCE)
    loss.backward()
    for name, tensor in (("image", image), ("words", words)):
        torch.testing.assert_close(tensor.grad, expected[f"pairing.gradient.{name}"], rtol=1e-4, atol=1e-6)
    # Their mean includes padding. Without padding both give the same.
    first_five = all_used & (torch.arange(7) < 5)
    torch.testing.assert_close(paired(first_five), expected["pairing.cut"], **TOLERANCE)
    assert abs(expected["pairing.cut"] - expected["pairing"]) > 0.01


def test_dmmis_loss_of_words_that_the_image_gave_back(dmmi_losses: DmmiLosses) -> None:
    _, given, expected = dmmi_losses
    words, remade = given["words"].requires_grad_(), given["remade"].requires_grad_()
    loss = reconstruction_loss(words, remade, given["used"].bool())
    torch.testing.assert_close(loss, expected["words"], **TOLERANCE)
    loss.backward()
    torch.testing.assert_close(remade.grad, expected["words.gradient.remade"], rtol=1e-4, atol=1e-7)
    assert words.grad is None
