"""The seconds of a training step by a roofline: kernels of a trace, and the rates of a device.

    seconds = sum over kernels of max(flops / (e_p P), bytes / (e_m M)) + o

P is the peak of products and M the memory bandwidth of the data sheet, e_p and e_m the shares of them that kernels
reach, and o is the overhead of a kernel (S. Williams, A. Waterman, D. Patterson: Roofline, CACM 52(4), 2009; the shares
are its lower ceilings). Views are no kernels. A kernel reads and writes each tensor once, and no two overlap.

The shares of GPUs are fitted on public tables of inference (`benchmarks/bench_roofline.py`). No GPU has confirmed a
training step. Those of a CPU are measured where the command runs (`cpu_rates`). Exchange between workers, data and
checkpoints are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch

from pipeline.cost.devices import Device
from pipeline.cost.step_trace import DeviceKind, Kernel, StepTrace
from sharedris.config import Precision

MEMORY_SHARE = 0.9
"""Of a GPU's bandwidth. An assumption: the rows that fit the other share leave it open between 0.8 and 1."""
PRODUCT_SHARE = {"RTX 3090": 1.01, "RTX 4090": 1.07, "RTX 5090": 0.84}
"""Of a GPU's peak, fitted. These cards may run faster than the clock of their data sheet: so a share may exceed 1."""
OTHER_PRODUCT_SHARE = min(PRODUCT_SHARE.values())
"""Of GPUs without a table: the lowest that was fitted. It is not checked on any of them."""
GPU_OVERHEAD_SECONDS = 5e-6
"""Of one kernel's launch. An assumption; it matters to small models only."""


class Rates(Protocol):
    """What a device does in a second."""

    def seconds(self, kernel: Kernel) -> float:
        """Return the time of a kernel, with its overhead."""


@dataclass(frozen=True, kw_only=True)
class GpuRates:
    """The rates of a GPU."""

    device: Device
    product_share: float
    memory_share: float = MEMORY_SHARE
    tf32: bool = False

    def seconds(self, kernel: Kernel) -> float:
        """Return the time of a kernel, with its overhead."""
        precision: Precision = "fp32" if kernel.dtype == torch.float32 else "bf16"
        products = kernel.flops / (self.product_share * self.device.flops(precision, tf32=self.tf32))
        moving = kernel.bytes_moved / (self.memory_share * self.device.bandwidth_gbs * 1e9)
        return max(products, moving) + GPU_OVERHEAD_SECONDS


def gpu_rates(device: Device, *, tf32: bool = False) -> GpuRates:
    """Return the rates of a GPU of the table."""
    share = PRODUCT_SHARE.get(device.name, OTHER_PRODUCT_SHARE)
    return GpuRates(device=device, product_share=share, tf32=tf32)


def seconds_of(kernels: Iterable[Kernel], rates: Rates) -> float:
    """Return the time of kernels one after another."""
    return sum(count * rates.seconds(kernel) for kernel, count in Counter(kernels).items())


def step_seconds(
    trace: StepTrace, rates: Rates, *, precision: Precision, device: DeviceKind, forwards: float = 1
) -> float:
    """Return the time of an optimizer step: of forwards and their backwards, of clipping and of AdamW."""
    return forwards * seconds_of(trace.kernels, rates) + seconds_of(optimizer_kernels(trace, precision, device), rates)


def optimizer_kernels(trace: StepTrace, precision: Precision, device: DeviceKind) -> list[Kernel]:
    """Return the kernels of a step's end: the norm of the gradients, their scaling, and AdamW.

    A CPU works parameter by parameter in the norm and the scaling, a GPU on all of them at once.
    """
    parts = trace.parameters if device == "cpu" else 1
    size = trace.gradients

    def kernel(name: str, bytes_moved: int) -> Kernel:
        return Kernel(name=name, flops=0, bytes_moved=bytes_moved, dtype=torch.float32)

    unscale = [kernel("mul_", 2 * size)] if precision == "fp16" else []
    clip = [kernel("linalg_vector_norm", size // parts), kernel("mul_", 2 * size // parts)] * parts
    adamw = kernel("_fused_adamw_", 7 * size)  # reads weight, gradient and two moments, and writes three of them
    return [*unscale, *clip, adamw]
