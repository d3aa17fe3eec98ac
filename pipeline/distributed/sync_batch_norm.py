"""Batch statistics over the global batch, so that a run does not depend on the number of workers.

torch's SyncBatchNorm supports only GPUs; this module reduces the same sums on the CPU. With gradient accumulation the
statistics are those of one forward pass on all workers, which the record states (`batch_statistics.in_words`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pipeline.distributed.process_group import Worker, gather_in_rank_order


class _NormalizeOverWorkers(torch.autograd.Function):
    """Batch normalization by the mean and variance over the samples of all workers, equally many on each.

    Each direction takes one collective: the forward pass gathers means and variances, the backward pass the sums of
    the gradient and of the gradient times the normalized input. torch's kernels do all work on the input itself.
    """

    @staticmethod
    def forward(
        ctx: Any, input_BCHW: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        # native_batch_norm computes the local statistics; torch.var_mean is many times slower on a CPU.
        _, mean_C, inverse_C = torch.native_batch_norm(input_BCHW, None, None, None, None, True, 0.0, eps)
        variance_C = (inverse_C.square().reciprocal() - eps).clamp_min(0.0)
        means_KC, variances_KC = gather_in_rank_order(torch.stack([mean_C, variance_C])).unbind(1)
        mean_C = means_KC.mean(0)
        variance_C = (variances_KC + (means_KC - mean_C).square()).mean(0)
        output_BCHW = functional.batch_norm(input_BCHW, mean_C, variance_C, weight_C, bias_C, training=False, eps=eps)
        ctx.save_for_backward(input_BCHW, weight_C, mean_C, variance_C)
        ctx.eps, ctx.samples = eps, len(means_KC) * (input_BCHW.numel() // len(mean_C))
        ctx.mark_non_differentiable(mean_C, variance_C)
        return output_BCHW, mean_C, variance_C

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        input_BCHW, weight_C, mean_C, variance_C = ctx.saved_tensors
        inverse_C = torch.rsqrt(variance_C + ctx.eps)
        # The kernel assumes local sums; the lines after it correct its input gradient for the global sums.
        through_BCHW, weight_gradient_C, bias_gradient_C = torch.ops.aten.native_batch_norm_backward(
            gradients[0], input_BCHW, weight_C, None, None, mean_C, inverse_C, True, ctx.eps, [True] * 3
        )
        # The loss of every worker depends on the input of every worker through the shared statistics.
        own_2C = torch.stack([bias_gradient_C, weight_gradient_C])
        of_all_K2C = gather_in_rank_order(own_2C)
        excess_2C = own_2C * (len(of_all_K2C) / ctx.samples) - of_all_K2C.sum(0) / ctx.samples
        slope_C = weight_C * inverse_C.square() * excess_2C[1]
        offset_C = weight_C * inverse_C * excess_2C[0] - slope_C * mean_C
        through_BCHW.addcmul_(input_BCHW, slope_C[:, None, None]).add_(offset_C[:, None, None])
        return through_BCHW, weight_gradient_C, bias_gradient_C, None


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are reduced over all workers of the default process group.

    Shapes: input and output [B, C, H, W]; every worker must bring the same B, H and W. State-dict names are those of
    BatchNorm2d.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the statistics of the global batch (training) or the running ones (evaluation)."""
        if not self.training:
            return super().forward(input)
        output, mean_C, variance_C = _NormalizeOverWorkers.apply(input.float(), self.weight, self.bias, self.eps)
        samples = dist.get_world_size() * (input.numel() // input.shape[1])
        self._update_running(mean_C, variance_C, samples)
        normalized: Tensor = output.to(input.dtype)
        return normalized

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
    """Return the model with the statistics of every BatchNorm2d reduced over the workers; collective.

    With one worker the model is returned as it is.
    """
    if worker.world_size == 1:
        return model
    if worker.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _converted(child))
    return model


def leave_out_of_graphs(model: nn.Module) -> bool:
    """Exclude the modules of `synchronize` from torch.compile; return whether there are any.

    They wait for other processes. torch's own cannot be compiled into a graph either (pytorch#161302).
    """
    found = [module for module in model.modules() if isinstance(module, (GlobalBatchNorm2d, nn.SyncBatchNorm))]
    for module in found:
        module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
    return bool(found)


def _converted(norm: nn.BatchNorm2d) -> GlobalBatchNorm2d:
    converted = GlobalBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    converted.load_state_dict(norm.state_dict())
    return converted
