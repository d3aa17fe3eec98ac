"""The kernels of a model's device."""

from __future__ import annotations

from torch import nn

from sharedris.cpu_kernels import use_cpu_kernels
from sharedris.cuda_kernels import use_cuda_kernels


def use_kernels(model: nn.Module) -> None:
    """Make the layers of a model use the faster kernels of the device that it is on; call it after `model.to`."""
    use_cpu_kernels(model)
    use_cuda_kernels(model)
