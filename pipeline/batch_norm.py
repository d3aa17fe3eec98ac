"""Batch statistics over the global batch, so that a run does not depend on how many workers share it.

torch's SyncBatchNorm is for GPUs only; on the CPU the same sums are reduced here. With gradient accumulation the
statistics are those of one forward on all workers, which the record says (`describe`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.distributed import Worker


class _SumOverWorkers(torch.autograd.Function):
    """Sum a tensor over all workers; each worker's gradient reaches every other, summed likewise."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are reduced over all workers of the default process group.

    Shapes: input and output [B, C, H, W]; every worker must bring the same B, H and W. State-dict names are those of
    BatchNorm2d.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the statistics of the global batch (training) or the running ones (evaluation)."""
        if not self.training:
            return super().forward(input)
        count = torch.tensor(float(input.numel() // input.shape[1]), device=input.device)
        sums = torch.cat([input.float().sum(dim=(0, 2, 3)), count[None]])
        total: Tensor = _SumOverWorkers.apply(sums)
        samples = total[-1].detach()
        mean_C = total[:-1] / samples
        centred = input.float() - mean_C[None, :, None, None]
        variance_C: Tensor = _SumOverWorkers.apply(centred.square().sum(dim=(0, 2, 3))) / samples
        self._update_running(mean_C.detach(), variance_C.detach(), samples)
        scale_C = torch.rsqrt(variance_C + self.eps) * self.weight
        return (centred * scale_C[None, :, None, None] + self.bias[None, :, None, None]).to(input.dtype)

    @torch.no_grad()
    def _update_running(self, mean_C: Tensor, variance_C: Tensor, samples: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C * samples / (samples - 1), self.momentum)


def synchronize(model: nn.Module, worker: Worker) -> nn.Module:
    """Return the model with every BatchNorm2d reduced over the workers; the identity for one worker."""
    if worker.world == 1:
        return model
    if worker.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _converted(child))
    return model


def _converted(norm: nn.BatchNorm2d) -> GlobalBatchNorm2d:
    converted = GlobalBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    converted.load_state_dict(norm.state_dict())
    return converted


def describe(*, synchronized: bool, world: int, micro_batch_size: int) -> str:
    """Return in words over how many samples the head's batch statistics were taken, for the record."""
    if world == 1:
        return f"over {micro_batch_size} samples of 1 worker"
    if synchronized:
        return f"over {micro_batch_size * world} samples of {world} workers, synchronised"
    return f"over {micro_batch_size} samples of each of {world} workers, not synchronised"
