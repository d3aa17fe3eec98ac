"""Gradients of workers on the CPU: their mean in order of rank, by shared memory or by sockets, to the same bits."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import nn

from pipeline.distributed import ddp
from pipeline.distributed.process_group import Worker
from tests.integration import workers

STEPS = 4
"""DDP cuts its buckets anew after the first one."""


def gradients(worker: Worker, how: str, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return all gradients of some steps, of a model of several buckets; alone: before this worker meets the others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 1000), nn.Tanh(), nn.Linear(1000, 300), nn.Tanh(), nn.Linear(300, 1)).to(dtype)
    opened = ddp.open_host_memory if how == "shared memory" else lambda *_: None
    with patch.object(ddp, "open_host_memory", opened):
        wrapped = model if how == "alone" else ddp.wrap_for_training(model, worker, static_graph=True)
    torch.manual_seed(worker.rank)
    found = []
    for _ in range(STEPS):
        model.zero_grad(set_to_none=True)
        wrapped(torch.randn(8, 300, dtype=dtype)).square().mean().backward()
        found += [parameter.grad.clone() for parameter in model.parameters()]
    return found


@pytest.mark.parametrize("world_size", [2, 3])
def test_shared_memory_and_sockets_give_the_mean_in_order_of_rank(world_size: int, tmp_path: Path) -> None:
    own = workers.call(world_size, gradients, tmp_path, "alone")
    expected = [sum(parts[1:], start=parts[0]) / world_size for parts in zip(*own, strict=True)]
    for how in ("shared memory", "sockets"):
        for rank, found in enumerate(workers.call(world_size, gradients, tmp_path, how)):
            assert len(found) == STEPS * 6
            for got, wanted in zip(found, expected, strict=True):
                assert torch.equal(got, wanted), f"{how}, rank {rank}"


def test_gradients_of_another_type_keep_their_bits(tmp_path: Path) -> None:
    own = workers.call(2, gradients, tmp_path, "alone", torch.float64)
    for found in workers.call(2, gradients, tmp_path, "shared memory", torch.float64):
        assert all(torch.equal(got, (one + other) / 2) for got, one, other in zip(found, *own, strict=True))


def leave_alone(worker: Worker) -> str:
    """Return what the first worker's backward raises when the second one has ended after a step."""
    model = nn.Sequential(nn.Linear(30, 10), nn.Linear(10, 1))
    wrapped = ddp.wrap_for_training(model, worker, static_graph=True)
    wrapped(torch.randn(8, 30)).mean().backward()
    if worker.rank == 1:
        return ""
    with pytest.raises(torch.distributed.DistError) as error:
        wrapped(torch.randn(8, 30)).mean().backward()
    return str(error.value)


def test_a_lost_worker_is_told_as_such_out_of_backward(tmp_path: Path) -> None:
    assert workers.call(2, leave_alone, tmp_path)[0] == "another worker of this host has ended"
