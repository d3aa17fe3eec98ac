"""Batch statistics over groups of a fixed number of samples, so that neither workers nor micro-batches change them.

Shapes: B samples of a forward, C channels, G samples of a group; B is a multiple of G.

A group is normalized by its own mean and variance, as on the GPUs of the paper if these did not exchange statistics (14
samples on each of 8). Which samples are a group is decided by their position in the global batch alone
(`pipeline.data.dataset.step_order`), and a group lies in one forward of one worker: the forward exchanges nothing. The
running statistics move once a step, by the mean over all groups of the global batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.distributed.process_group import Worker, gather_in_rank_order


class GroupedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d that normalizes each group of samples by its own statistics in training.

    Shapes: input and output [B, C, H, W]. State-dict names are those of BatchNorm2d.

    Args:
        norm: whose parameters and running statistics are taken.
        samples: of a group.
    """

    pending_2C: Tensor
    """Sums over the groups since the last `move_running_statistics`: means, variances (unbiased)."""
    groups: Tensor
    """How many groups these are."""

    def __init__(self, norm: nn.BatchNorm2d, samples: int) -> None:
        device = norm.weight.device
        super().__init__(norm.num_features, norm.eps, norm.momentum, device=device)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.samples = samples
        self.register_buffer("pending_2C", torch.zeros(2, norm.num_features, device=device), persistent=False)
        self.register_buffer("groups", torch.zeros((), device=device), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize by the statistics of each group (training) or the running ones (evaluation)."""
        if not self.training:
            return super().forward(input)
        # A kernel call per group, of one shape: then the bits of a group do not depend on what else is in the forward.
        return torch.cat([self._normalize(group_GCHW) for group_GCHW in input.split(self.samples)])

    def _normalize(self, group_GCHW: Tensor) -> Tensor:
        # With a momentum of 1 the running statistics are those of this group: mean, unbiased variance.
        mean_C, variance_C = torch.zeros_like(self.pending_2C).unbind()
        output_GCHW = functional.batch_norm(
            group_GCHW, mean_C, variance_C, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps
        )
        with torch.no_grad():
            self.pending_2C += torch.stack([mean_C, variance_C])
            self.groups += 1
        return output_GCHW


def group(model: nn.Module, samples: int) -> nn.Module:
    """Return the model with every BatchNorm2d replaced by one over groups of so many samples."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, GroupedBatchNorm2d(child, samples))
    return model


@torch.no_grad()
def move_running_statistics(model: nn.Module, worker: Worker) -> None:
    """Move all running statistics by what the groups of this step had, on all workers alike; collective.

    Does nothing for a model without `GroupedBatchNorm2d`.
    """
    norms = [module for module in model.modules() if isinstance(module, GroupedBatchNorm2d)]
    if not norms:
        return
    sums_N = torch.cat([torch.cat([norm.pending_2C.flatten(), norm.groups[None]]) for norm in norms])
    if worker.world_size > 1:
        sums_N = gather_in_rank_order(sums_N).sum(0)  # one exchange for all norms
    for norm, total_M in zip(norms, sums_N.split([2 * norm.num_features + 1 for norm in norms]), strict=True):
        means_2C = (total_M[:-1] / total_M[-1]).view(2, -1)
        running = norm.running_mean, norm.running_var
        for kept_C, mean_C in zip(running, means_2C, strict=True):
            assert kept_C is not None
            assert norm.momentum is not None
            kept_C.lerp_(mean_C, norm.momentum)
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        norm.pending_2C.zero_()
        norm.groups.zero_()
