"""The model as torch's DistributedDataParallel.

On GPUs NCCL takes the mean of the gradients. On the CPU it is taken in order of rank, so that its bits never change:
gloo's ring adds in an order that depends on how DDP cut its buckets, which changes after the first step: a resumed run
of three workers would differ in the last bit. Every worker reads all gradients and adds them up itself: over
sockets, or, where all workers are on one host, out of memory that they share, which takes less time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.distributed.process_group import Worker
from pipeline.distributed.shared_memory import HostMemory, open_host_memory


def wrap_for_training(model: nn.Module, worker: Worker, *, static_graph: bool) -> nn.Module:
    """Return the model as DistributedDataParallel where there is more than one worker; collective.

    Args:
        model: on the worker's device.
        static_graph: every step uses the same parameters once; holds unless gradients are accumulated, since it
            forbids `no_sync`.
    """
    if worker.world_size == 1:
        return model
    wrapped = nn.parallel.DistributedDataParallel(
        model,
        device_ids=[worker.device.index] if worker.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        forward_sync_buffers=False,
        static_graph=static_graph,
    )
    if worker.device.type == "cpu":
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        all_float32 = all(parameter.dtype == torch.float32 for parameter in trained)
        memory = open_host_memory(sum(map(Tensor.numel, trained)), worker) if all_float32 else None
        if memory is None:
            wrapped.register_comm_hook(worker.world_size, _mean_over_sockets)
        else:
            wrapped.register_comm_hook(_SharedGradients(memory), _mean_in_host_memory)
    return wrapped


class _SharedGradients:
    """The gradients of one backward pass, bucket by bucket; the workers meet once, at the last one."""

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self._waiting: list[tuple[Tensor, torch.futures.Future[Tensor]]] = []
        self._filled = 0

    def add(self, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        """Write this worker's bucket for the others; its future has the mean when the last bucket was added."""
        own, future = bucket.buffer(), torch.futures.Future[Tensor]()
        self._memory.own[self._filled : self._filled + own.numel()].copy_(own)
        self._filled += own.numel()
        self._waiting.append((own, future))
        if bucket.is_last():
            buckets, self._waiting, self._filled = self._waiting, [], 0
            _take_means(buckets, self._memory.meet())
        return future


def _take_means(buckets: Sequence[tuple[Tensor, torch.futures.Future[Tensor]]], rows: Tensor) -> None:
    begin = 0
    for own, future in buckets:
        parts = rows[:, begin : begin + own.numel()]
        torch.add(parts[0], parts[1], out=own)
        for part in parts[2:]:
            own.add_(part)
        future.set_result(own.div_(len(parts)))
        begin += own.numel()


def _mean_in_host_memory(state: _SharedGradients, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    return state.add(bucket)


def _mean_over_sockets(world_size: int, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    own = bucket.buffer()
    rows = [torch.empty_like(own) for _ in range(world_size)]
    all_have_sent = dist.all_gather(rows, own, async_op=True)

    def mean(_: Any) -> Tensor:
        total = rows[0]
        for row in rows[1:]:
            total += row
        return total.div_(world_size)

    return all_have_sent.get_future().then(mean)


# DDP compares the annotations themselves, which are strings in this module.
for _hook in (_mean_in_host_memory, _mean_over_sockets):
    _hook.__annotations__.update({"bucket": dist.GradBucket, "return": torch.futures.Future[torch.Tensor]})
