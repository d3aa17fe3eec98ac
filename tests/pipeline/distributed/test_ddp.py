"""Gradients of workers on the CPU: averaged in rank order, to fixed bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.config import GradientExchange
from pipeline.distributed import ddp
from pipeline.distributed.process_group import Worker
from tests.integration import workers

STEPS = 4
"""DDP cuts its buckets anew after the first one."""


def gradients(
    worker: Worker, averaged: bool, dtype: torch.dtype = torch.float32, exchanged: GradientExchange = "float32"
) -> list[torch.Tensor]:
    """Return all gradients of some steps of a model of several buckets, of this worker or averaged over all."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 1000), nn.Tanh(), nn.Linear(1000, 300), nn.Tanh(), nn.Linear(300, 1)).to(dtype)
    wrapped = ddp.wrap_for_training(model, worker, static_graph=True, exchanged=exchanged) if averaged else model
    torch.manual_seed(worker.rank)
    found = []
    for _ in range(STEPS):
        model.zero_grad(set_to_none=True)
        wrapped(torch.randn(8, 300, dtype=dtype)).square().mean().backward()
        found += [parameter.grad.clone() for parameter in model.parameters()]
    return found


@pytest.mark.parametrize("world_size", [2, 3])
def test_workers_get_the_mean_in_rank_order(world_size: int, tmp_path: Path) -> None:
    own = workers.call(world_size, gradients, tmp_path, False)
    expected = [sum(parts[1:], start=parts[0]) / world_size for parts in zip(*own, strict=True)]
    for rank, found in enumerate(workers.call(world_size, gradients, tmp_path, True)):
        assert len(found) == STEPS * 6
        for got, wanted in zip(found, expected, strict=True):
            assert torch.equal(got, wanted), f"rank {rank}"


def test_gradients_of_another_type_keep_their_bits(tmp_path: Path) -> None:
    own = workers.call(2, gradients, tmp_path, False, torch.float64)
    for found in workers.call(2, gradients, tmp_path, True, torch.float64):
        assert all(torch.equal(got, (one + other) / 2) for got, one, other in zip(found, *own, strict=True))


def test_gradients_that_are_sent_in_bf16_are_rounded_once_and_added_in_float32(tmp_path: Path) -> None:
    own = workers.call(2, gradients, tmp_path, False)
    rounded = [[gradient.bfloat16().float() for gradient in each] for each in own]
    for found in workers.call(2, gradients, tmp_path, True, torch.float32, "bf16"):
        assert all(torch.equal(got, (one + other) / 2) for got, one, other in zip(found, *rounded, strict=True))
