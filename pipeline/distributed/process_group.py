"""Where a worker stands among the others, and the few collectives that a run needs.

With one worker there is no process group and every function here is the identity, so that the same code runs in the
driver's own process, under Ray Train and in a plain test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

COLLECTIVE_TIMEOUT_SECONDS = 900
"""How long a worker waits for the others in a step; the longest regular wait is for the checkpoint of rank zero."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One process of a run: its rank, how many there are, its device, and the names of the GPUs of all ranks.

    `local_rank` counts the workers of its node; None where all ranks are on one.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    gpus: tuple[str | None, ...] = ()
    local_rank: int | None = None

    @property
    def is_main_process(self) -> bool:
        """Whether this worker writes the run's files."""
        return self.rank == 0

    @property
    def is_first_on_node(self) -> bool:
        """Whether no worker of a lower rank is on this node."""
        return (self.rank if self.local_rank is None else self.local_rank) == 0

    def gather(self, value: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
        """Return every worker's value in order of rank, on every worker."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=group)
        return values

    @contextlib.contextmanager
    def patient_group(self) -> Iterator[dist.ProcessGroup | None]:
        """Give a group whose members wait for each other for a day, for work without steps; collective.

        Workers of unequal speed may be hours apart at its end. Through gloo, which tells a lost peer at once, and
        which leaves the GPUs' memory alone.
        """
        if self.world_size == 1:
            yield None
            return
        group = dist.new_group(backend="gloo", timeout=timedelta(days=1))
        yield group  # an error in the block ends the worker, and the group with it
        dist.destroy_process_group(group)

    def barrier(self) -> None:
        """Wait for all workers."""
        if self.world_size > 1:
            dist.barrier()

    def sum(self, values: list[float]) -> list[float]:
        """Return the element-wise sum over workers, added in order of rank so that its bits never change."""
        return [sum(column) for column in zip(*self.gather(values), strict=True)]


def seed_everything(seed: int, rank: int, *, step: int = 0) -> None:
    """Seed torch's generators; every rank draws its own drop-path masks. Nothing here uses other generators.

    Args:
        step: where the numbers start anew in the middle of a run, so that they are not those of its beginning.
    """
    torch.manual_seed(seed * 1_000_003 + rank + step * 1_000_000_007)


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of this worker's generators, as tensors that load with `weights_only=True`."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Restore what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def share_buffers(model: nn.Module, worker: Worker) -> None:
    """Broadcast the buffers (running statistics) of rank zero, so that all ranks evaluate the same model."""
    if worker.world_size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def gather_in_rank_order(values: Tensor) -> Tensor:
    """Return the values of every worker in rank order, (workers, ...), so that the bits of sums over them are fixed."""
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values)
    return torch.stack(parts)
