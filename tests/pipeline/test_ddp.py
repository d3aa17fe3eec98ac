"""Gradients of workers on the CPU: their mean in order of rank, by shared memory or by sockets, to the same bits."""

from __future__ import annotations

import contextlib
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import nn

from pipeline import ddp
from pipeline.distributed import Worker
from tests.integration import workers

STEPS = 4
"""DDP cuts its buckets anew after the first one."""


def gradients(worker: Worker, how: str) -> list[torch.Tensor]:
    """Return all gradients of some steps, of a model of several buckets; alone: before this worker meets the others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 1000), nn.Tanh(), nn.Linear(1000, 300), nn.Tanh(), nn.Linear(300, 1))
    opened = ddp._open_shared if how == "shared memory" else lambda *_: None
    with patch.object(ddp, "_open_shared", opened):
        wrapped = model if how == "alone" else ddp.wrap_for_training(model, worker, static_graph=True)
    torch.manual_seed(worker.rank)
    found = []
    for _ in range(STEPS):
        model.zero_grad(set_to_none=True)
        wrapped(torch.randn(8, 300)).square().mean().backward()
        found += [parameter.grad.clone() for parameter in model.parameters()]
    return found


@pytest.mark.parametrize("world", [2, 3])
def test_shared_memory_and_sockets_give_the_mean_in_order_of_rank(world: int, tmp_path: Path) -> None:
    own = workers.call(world, gradients, tmp_path, "alone")
    expected = [sum(parts[1:], start=parts[0]) / world for parts in zip(*own, strict=True)]
    for how in ("shared memory", "sockets"):
        for rank, found in enumerate(workers.call(world, gradients, tmp_path, how)):
            assert len(found) == STEPS * 6
            for got, wanted in zip(found, expected, strict=True):
                assert torch.equal(got, wanted), f"{how}, rank {rank}"


def share(worker: Worker, blind: int) -> str:
    """Return what a worker opens where one of them cannot see the leader's memory."""
    with patch.object(ddp, "_map", lambda *_: None) if blind == worker.rank else contextlib.nullcontext():
        shared = ddp._open_shared(10, worker)
    return "nothing" if shared is None else str(tuple(shared.shape))


@pytest.mark.parametrize(("blind", "expected"), [(-1, "(2, 2, 10)"), (0, "nothing"), (1, "nothing")])
def test_memory_is_shared_by_all_or_none(blind: int, expected: str, tmp_path: Path) -> None:
    assert workers.call(2, share, tmp_path, blind) == [expected] * 2


def elsewhere(worker: Worker) -> bool:
    """Return whether a worker takes memory of the right size for the leader's that is not."""
    if worker.rank == 0:
        return ddp._open_shared(10, worker) is None
    with patch.object(ddp, "_map", return_value=torch.zeros(40)):
        return ddp._open_shared(10, worker) is None


def test_memory_of_another_process_is_not_taken_for_the_leaders(tmp_path: Path) -> None:
    assert workers.call(2, elsewhere, tmp_path) == [True, True]
