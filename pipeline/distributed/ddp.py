"""The model as torch's DistributedDataParallel.

On GPUs NCCL averages the gradients. On the CPU they are averaged in rank order, so that the bits never change: gloo's
ring adds in an order that depends on how DDP cut its buckets, and the buckets change after the first step. A resumed
run of three workers would differ in the last bit.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from pipeline.config import GradientExchange
from pipeline.distributed.process_group import Worker


def wrap_for_training(
    model: nn.Module, worker: Worker, *, static_graph: bool, exchanged: GradientExchange = "float32"
) -> nn.Module:
    """Return the model as DistributedDataParallel if there is more than one worker; collective.

    Args:
        model: on the worker's device.
        worker: rank, number of workers, device.
        static_graph: every step uses the same parameters once; holds unless gradients are accumulated, since it
            forbids `no_sync`.
        exchanged: number format of the gradients that are sent: half of the bytes in bf16, each gradient rounded.
    """
    if worker.world_size == 1:
        return model
    return distribute(model, worker, static_graph=static_graph, exchanged=exchanged)


def distribute(
    model: nn.Module, worker: Worker, *, static_graph: bool, exchanged: GradientExchange = "float32"
) -> nn.parallel.DistributedDataParallel:
    """Return the model as DistributedDataParallel for any number of workers, one too; see `wrap_for_training`."""
    wrapped = nn.parallel.DistributedDataParallel(
        model,
        device_ids=[worker.device.index] if worker.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        forward_sync_buffers=False,
        static_graph=static_graph,
    )
    if worker.device.type == "cpu":
        sent = torch.bfloat16 if exchanged == "bf16" else None
        wrapped.register_comm_hook((worker.world_size, sent), _mean_in_rank_order)
    elif exchanged == "bf16":
        wrapped.register_comm_hook(None, bf16_compress_hook)
    return wrapped


def _mean_in_rank_order(state: tuple[int, torch.dtype | None], bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Gather the bucket of every worker and average in rank order, whatever the cut of the buckets.

    Args:
        state: number of workers, and the number format that is sent; None sends the bucket's own. Sums are of its own.
        bucket: of gradients.
    """
    (world_size, sent), own = state, bucket.buffer()
    part = own if sent is None else own.to(sent)
    gathered = [torch.empty_like(part) for _ in range(world_size)]
    work = dist.all_gather(gathered, part, async_op=True)

    def mean(_: Any) -> Tensor:
        total = gathered[0].to(own.dtype)
        for other in gathered[1:]:
            total += other
        return total.div_(world_size)

    return work.get_future().then(mean)


# DDP compares the annotations themselves, which are strings in this module.
_mean_in_rank_order.__annotations__.update({"bucket": dist.GradBucket, "return": torch.futures.Future[torch.Tensor]})
