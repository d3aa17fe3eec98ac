"""The schedule as a function of the step, and which parameters decay."""

import math

import pytest
import torch
from torch import nn

from pipeline.config import OptimConfig
from pipeline.training.optimizer import build_optimizer, learning_rate_at


def test_cosine_falls_per_step_to_zero() -> None:
    config = OptimConfig(learning_rate=2.0)
    rates = [learning_rate_at(step, 10, config) for step in range(10)]
    assert rates[0] == 2.0
    assert rates[5] == pytest.approx(1.0)
    assert rates == sorted(rates, reverse=True)
    assert rates[9] == pytest.approx(1 + math.cos(math.pi * 0.9))


def test_warmup_rises_to_the_full_rate() -> None:
    config = OptimConfig(learning_rate=1.0, warmup_steps=4)
    assert [learning_rate_at(step, 100, config) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert learning_rate_at(4, 100, config) == 1.0


def test_norms_and_biases_are_left_out_of_decay_on_request() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    everything = build_optimizer(model, OptimConfig())
    matrices_only = build_optimizer(model, OptimConfig(decay_norms_and_biases=False))
    assert [len(group["params"]) for group in everything.param_groups] == [4]
    decayed, kept = matrices_only.param_groups
    assert [p.ndim for p in decayed["params"]] == [2]
    assert (len(kept["params"]), kept["weight_decay"]) == (3, 0.0)
    assert decayed["weight_decay"] == 5e-4


def test_update_equals_adamw_written_out() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    config = OptimConfig(learning_rate=0.1, weight_decay=0.5)
    holder = nn.Module()
    holder.weight = weight
    optimizer = build_optimizer(holder, config)
    gradient = torch.tensor([0.3, -0.7])
    weight.grad = gradient.clone()
    optimizer.step()
    # First step: both moments are corrected to the gradient itself.
    expected = torch.tensor([1.0, -2.0]) * (1 - 0.1 * 0.5) - 0.1 * gradient / (gradient.abs() + 1e-8)
    assert torch.allclose(weight, expected, atol=1e-6)
