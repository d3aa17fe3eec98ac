"""Batch statistics over the global batch, so that a run does not depend on how many workers share it.

torch's SyncBatchNorm is for GPUs only; on the CPU the same sums are reduced here. With gradient accumulation the
statistics are those of one forward on all workers, which the record says (`describe`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pipeline.distributed.process_group import Worker
from pipeline.distributed.shared_memory import HostMemory, open_host_memory


class _NormaliseOverWorkers(torch.autograd.Function):
    """Batch normalisation by the mean and variance over all workers' samples, each worker bringing as many.

    One collective a direction: forward the workers' means and variances, backward the sums of the gradient and of the
    gradient times the normalised input. The passes over the input are torch's own kernels.
    """

    @staticmethod
    def forward(
        ctx: Any, input_BCHW: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float, memory: HostMemory | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        # By the kernel of batch norm: torch.var_mean takes many times as long on a CPU.
        _, mean_C, inverse_C = torch.native_batch_norm(input_BCHW, None, None, None, None, True, 0.0, eps)
        variance_C = (inverse_C.square().reciprocal() - eps).clamp_min(0.0)
        means_KC, variances_KC = _gather(torch.stack([mean_C, variance_C]), memory).unbind(1)
        mean_C = means_KC.mean(0)
        variance_C = (variances_KC + (means_KC - mean_C).square()).mean(0)
        output_BCHW = functional.batch_norm(input_BCHW, mean_C, variance_C, weight_C, bias_C, training=False, eps=eps)
        ctx.save_for_backward(input_BCHW, weight_C, mean_C, variance_C)
        ctx.eps, ctx.samples = eps, len(means_KC) * (input_BCHW.numel() // len(mean_C))
        ctx.memory = memory
        ctx.mark_non_differentiable(mean_C, variance_C)
        return output_BCHW, mean_C, variance_C

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        input_BCHW, weight_C, mean_C, variance_C = ctx.saved_tensors
        inverse_C = torch.rsqrt(variance_C + ctx.eps)
        # By the kernel, as if the sums over this worker's samples were those over all ...
        through_BCHW, weight_gradient_C, bias_gradient_C = torch.ops.aten.native_batch_norm_backward(
            gradients[0], input_BCHW, weight_C, None, None, mean_C, inverse_C, True, ctx.eps, [True] * 3
        )
        # ... which is put right here: every worker's loss depends on every worker's input.
        own_2C = torch.stack([bias_gradient_C, weight_gradient_C])
        of_all_K2C = _gather(own_2C, ctx.memory)
        excess_2C = own_2C * (len(of_all_K2C) / ctx.samples) - of_all_K2C.sum(0) / ctx.samples
        slope_C = weight_C * inverse_C.square() * excess_2C[1]
        offset_C = weight_C * inverse_C * excess_2C[0] - slope_C * mean_C
        through_BCHW.addcmul_(input_BCHW, slope_C[:, None, None]).add_(offset_C[:, None, None])
        return through_BCHW, weight_gradient_C, bias_gradient_C, None, None


def _gather(values: Tensor, memory: HostMemory | None) -> Tensor:
    """Return every worker's values in order of rank, (workers, ...), so that sums over them never change a bit."""
    if memory is not None:
        count = values.numel()
        memory.own[:count].copy_(values.flatten())
        return memory.meet()[:, :count].unflatten(1, values.shape).clone()
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values)
    return torch.stack(parts)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are reduced over all workers of the default process group.

    Shapes: input and output [B, C, H, W]; every worker must bring the same B, H and W. State-dict names are those of
    BatchNorm2d.
    """

    memory: HostMemory | None = None
    """By which the workers exchange statistics; over gloo without it."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the statistics of the global batch (training) or the running ones (evaluation)."""
        if not self.training:
            return super().forward(input)
        output, mean_C, variance_C = _NormaliseOverWorkers.apply(
            input.float(), self.weight, self.bias, self.eps, self.memory
        )
        samples = dist.get_world_size() * (input.numel() // input.shape[1])
        self._update_running(mean_C, variance_C, samples)
        normalised: Tensor = output.to(input.dtype)
        return normalised

    @torch.no_grad()
    def _update_running(self, mean_C: Tensor, variance_C: Tensor, samples: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C * samples / (samples - 1), self.momentum)


def synchronize(model: nn.Module, worker: Worker) -> nn.Module:
    """Return the model with every BatchNorm2d reduced over the workers; the identity for one worker; collective."""
    if worker.world_size == 1:
        return model
    if worker.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    channels = [module.num_features for module in model.modules() if type(module) is nn.BatchNorm2d]
    memory = open_host_memory(2 * max(channels, default=1), worker)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _converted(child, memory))
    return model


def leave_out_of_graphs(model: nn.Module) -> None:
    """Have torch.compile call what `synchronize` has put in place as it is: it waits for other processes."""
    for module in model.modules():
        if isinstance(module, GlobalBatchNorm2d):
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]


def _converted(norm: nn.BatchNorm2d, memory: HostMemory | None) -> GlobalBatchNorm2d:
    converted = GlobalBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    converted.load_state_dict(norm.state_dict())
    converted.memory = memory
    return converted


def describe(*, synchronized: bool, world_size: int, micro_batch_size: int) -> str:
    """Return in words over how many samples the head's batch statistics were taken, for the record."""
    if world_size == 1:
        return f"over {micro_batch_size} samples of 1 worker"
    if synchronized:
        return f"over {micro_batch_size * world_size} samples of {world_size} workers, synchronised"
    return f"over {micro_batch_size} samples of each of {world_size} workers, not synchronised"
