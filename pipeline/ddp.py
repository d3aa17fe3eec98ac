"""The model as torch's DistributedDataParallel.

On GPUs NCCL takes the mean of the gradients. On the CPU it is taken in order of rank, so that its bits never change:
gloo's ring adds in an order that depends on how DDP cut its buckets, which changes after the first step: a resumed run
of three workers would differ in the last bit. Every worker reads all gradients and adds them up itself: over
sockets, or, where all workers are on one host, out of memory that they share, which takes less time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.distributed import Worker

_FLOAT_BYTES = 4


def wrap_for_training(model: nn.Module, worker: Worker, *, static_graph: bool) -> nn.Module:
    """Return the model as DistributedDataParallel where there is more than one worker; collective.

    Args:
        model: on the worker's device.
        static_graph: every step uses the same parameters once; holds unless gradients are accumulated, since it
            forbids `no_sync`.
    """
    if worker.world == 1:
        return model
    wrapped = nn.parallel.DistributedDataParallel(
        model,
        device_ids=[worker.device.index] if worker.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        forward_sync_buffers=False,
        static_graph=static_graph,
    )
    if worker.device.type == "cpu":
        shared = _open_shared(sum(p.numel() for p in model.parameters() if p.requires_grad), worker)
        if shared is None:
            wrapped.register_comm_hook(worker.world, _mean_over_sockets)
        else:
            wrapped.register_comm_hook(_SharedGradients(shared, worker), _mean_in_shared_memory)
    return wrapped


class _SharedGradients:
    """Memory of all workers of a host.

    Two turns take each other's place: a worker that is ahead writes the next step's gradients beside those that others
    still read, and cannot be ahead by more, since it waits for all of them in between.

    Args:
        shared: float32, (2 turns, workers, values).
    """

    def __init__(self, shared: Tensor, worker: Worker) -> None:
        self._shared, self._rank = shared, worker.rank
        self._turn = self._filled = 0

    def place(self, bucket: dist.GradBucket) -> Tensor:
        """Write the bucket to this worker's row; return where it lies in the rows of all, (workers, values)."""
        own = bucket.buffer()
        rows = self._shared[self._turn, :, self._filled : self._filled + own.numel()]
        rows[self._rank].copy_(own)
        self._filled += own.numel()
        if bucket.is_last():
            self._turn, self._filled = 1 - self._turn, 0
        return rows


def _mean_in_shared_memory(state: _SharedGradients, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    rows, own = state.place(bucket), bucket.buffer()
    all_have_written = dist.all_reduce(torch.zeros(1), async_op=True)

    def mean(_: Any) -> Tensor:
        torch.add(rows[0], rows[1], out=own)
        for row in rows[2:]:
            own.add_(row)
        return own.div_(len(rows))

    return all_have_written.get_future().then(mean)


def _mean_over_sockets(world: int, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    own = bucket.buffer()
    rows = [torch.empty_like(own) for _ in range(world)]
    all_have_sent = dist.all_gather(rows, own, async_op=True)

    def mean(_: Any) -> Tensor:
        total = rows[0]
        for row in rows[1:]:
            total += row
        return total.div_(world)

    return all_have_sent.get_future().then(mean)


# DDP compares the annotations themselves, which are strings in this module.
for _hook in (_mean_in_shared_memory, _mean_over_sockets):
    _hook.__annotations__.update({"bucket": dist.GradBucket, "return": torch.futures.Future[torch.Tensor]})


def _open_shared(values: int, worker: Worker) -> Tensor | None:
    """Return zeros, (2, workers, values), that all workers share, or None where they do not share a host; collective.

    The memory has no name in any file system, so that it is gone with its workers, however they end.
    """
    if len(set(worker.gather(_host()))) > 1:
        return None
    size = 2 * worker.world * values
    descriptor, offer = None, None
    if worker.leads:
        with contextlib.suppress(AttributeError, OSError):  # not Linux; no memory left
            descriptor = os.memfd_create("gradients")
            os.posix_fallocate(descriptor, 0, size * _FLOAT_BYTES)
            offer = f"/proc/{os.getpid()}/fd/{descriptor}"
    try:
        offer = worker.gather(offer)[0]
        shared = None if offer is None else _map(offer, size)
        nonce = float(1 + secrets.randbelow(1 << 23))
        if worker.leads and shared is not None:
            shared[0] = nonce
        nonce = worker.gather(nonce)[0]
        # Another container may have a process of that number with another file of that number.
        all_share = all(worker.gather(shared is not None and float(shared[0]) == nonce))
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return shared.view(2, worker.world, values) if all_share and shared is not None else None


def _host() -> str:
    """Return what tells this host, or container with an address of its own, from others."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/net').readlink()}"
    except OSError:  # not Linux
        return socket.gethostname()


def _map(path: str, size: int) -> Tensor | None:
    try:
        if Path(path).stat().st_size != size * _FLOAT_BYTES:
            return None
        return torch.from_file(path, shared=True, size=size, dtype=torch.float32)
    except (OSError, RuntimeError):
        return None
