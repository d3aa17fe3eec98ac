"""Equation 12 by hand."""

from __future__ import annotations

import pytest
import torch

from sharedris.config import LossConfig
from sharedris.loss import segmentation_loss


def test_terms_by_hand() -> None:
    logits = torch.zeros(1, 2, 2)
    mask = torch.tensor([[[1, 1], [0, 0]]], dtype=torch.uint8)
    terms = segmentation_loss(logits, mask, LossConfig())
    assert terms.bce.item() == pytest.approx(0.693147, abs=1e-5)
    assert terms.dice.item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    assert terms.total.item() == pytest.approx(2.0 * terms.bce.item() + 0.5 * terms.dice.item())


def test_perfect_logits_cost_nothing_and_an_empty_mask_is_finite() -> None:
    mask = torch.zeros(2, 8, 8)
    mask[0, :4] = 1
    perfect = segmentation_loss(mask * 60 - 30, mask, LossConfig())
    assert perfect.total.item() == pytest.approx(0, abs=1e-4)
    assert segmentation_loss(torch.zeros(2, 8, 8), torch.zeros(2, 8, 8), LossConfig()).total.isfinite()


@pytest.mark.parametrize("resolution", ["logits", "input"])
def test_mask_is_at_input_size(resolution: str) -> None:
    mask = torch.zeros(1, 16, 16, dtype=torch.uint8)
    mask[:, :, 8:] = 1
    logits = torch.where(torch.arange(4) >= 2, 30.0, -30.0).expand(1, 4, 4)
    terms = segmentation_loss(logits, mask, LossConfig(resolution=resolution))
    flipped = segmentation_loss(-logits, mask, LossConfig(resolution=resolution))
    assert terms.total < (0.01 if resolution == "logits" else 1.0)
    assert flipped.total > 20 * terms.total


def test_half_precision_logits_are_summed_in_float() -> None:
    logits = torch.full((1, 120, 120), 3.0, dtype=torch.bfloat16)
    terms = segmentation_loss(logits, torch.ones(1, 480, 480, dtype=torch.uint8), LossConfig())
    assert terms.total.dtype == torch.float32
    assert terms.bce.item() == pytest.approx(0.048587, rel=1e-3)
