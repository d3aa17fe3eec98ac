"""What devices can do at most in products and in moving bytes: from their makers' data sheets, or measured on a CPU."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sharedris.config import Precision


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device's peaks, dense (without structured sparsity).

    Attributes:
        name: words of what `torch.cuda.get_device_name` prints.
        half_tflops: of products in bf16 or fp16, added in float32.
        tf32_tflops: of float32 products with TF32; those of float32 where the device has no TF32.
        single_tflops: of float32 products.
        bandwidth_gbs: of its memory, in GB/s (1e9).
        has_bf16: False where bf16 is emulated.
        source: document with the numbers.
    """

    name: str
    half_tflops: float
    tf32_tflops: float
    single_tflops: float
    bandwidth_gbs: float
    source: str
    has_bf16: bool = True

    def flops(self, precision: Precision, *, tf32: bool = False) -> float:
        """Return the peak of products per second in a precision."""
        single = self.tf32_tflops if tf32 else self.single_tflops
        return 1e12 * (single if precision == "fp32" else self.half_tflops)


_COLUMNS = ("name", "half_tflops", "tf32_tflops", "single_tflops", "bandwidth_gbs", "source")
_ROWS: tuple[tuple[str, float, float, float, float, str], ...] = (
    ("V100-SXM2", 125.0, 15.7, 15.7, 900.0, "NVIDIA V100 data sheet"),
    ("V100-PCIE", 112.0, 14.0, 14.0, 900.0, "NVIDIA V100 data sheet"),
    ("T4", 65.0, 8.1, 8.1, 320.0, "NVIDIA T4 data sheet"),
    ("A100-SXM4-80GB", 312.0, 156.0, 19.5, 2039.0, "NVIDIA A100 data sheet"),
    ("A100 80GB PCIe", 312.0, 156.0, 19.5, 1935.0, "NVIDIA A100 data sheet"),
    ("A100", 312.0, 156.0, 19.5, 1555.0, "NVIDIA A100 data sheet (40 GB)"),
    ("H100 PCIe", 756.0, 378.0, 51.0, 2000.0, "NVIDIA H100 data sheet"),
    ("H100 NVL", 835.0, 417.0, 60.0, 3900.0, "NVIDIA H100 data sheet"),
    ("H100", 989.0, 494.0, 67.0, 3350.0, "NVIDIA H100 data sheet (SXM)"),
    ("H200", 989.0, 494.0, 67.0, 4800.0, "NVIDIA H200 data sheet (SXM)"),
    ("L40S", 362.0, 183.0, 91.6, 864.0, "NVIDIA L40S data sheet"),
    ("L4", 121.0, 60.0, 30.3, 300.0, "NVIDIA L4 data sheet"),
    ("A10G", 70.0, 35.0, 31.5, 600.0, "AWS G5 documentation"),
    ("A10", 125.0, 62.5, 31.2, 600.0, "NVIDIA A10 data sheet"),
    ("RTX 3090", 71.0, 35.6, 35.6, 936.0, "NVIDIA Ampere GA102 whitepaper"),
    ("RTX 4090", 165.2, 82.6, 82.6, 1008.0, "NVIDIA Ada whitepaper"),
    ("RTX 5090", 209.5, 104.8, 104.8, 1792.0, "NVIDIA RTX Blackwell whitepaper"),
)
_WITHOUT_BF16 = ("V100-SXM2", "V100-PCIE", "T4")
DEVICES = tuple(
    Device(**dict(zip(_COLUMNS, row, strict=True)), has_bf16=row[0] not in _WITHOUT_BF16)  # type: ignore[arg-type]
    for row in _ROWS
)
"""In this order: the first whose name is in the device's own name."""

_OTHER_MODELS = r"(?! (?:Ti|SUPER|D|Laptop)\b)"
"""Words after a name that make it another device."""


def find_device(name: str) -> Device | None:
    """Return the device of a name as torch prints it; None for one that is not in the table, and for a MIG slice."""
    if " MIG " in name:
        return None
    patterns = ((device, rf"\b{re.escape(device.name)}\b{_OTHER_MODELS}") for device in DEVICES)
    return next((device for device, pattern in patterns if re.search(pattern, name, re.IGNORECASE)), None)


_RAYS_NAMES = {"V100": "V100-SXM2", "A100-80G": "A100-SXM4-80GB"}
"""Accelerator types of Ray that are not words of a device's name -> the device."""


def named_device(name: str) -> Device | None:
    """Return the device of a name as Ray's accelerator types or torch have it; None for one not in the table."""
    return find_device(_RAYS_NAMES.get(name, name))


def peak_flops(device: torch.device, precision: Precision, *, tf32: bool = False) -> float | None:
    """Return the peak of products per second of one worker's device; None for an unknown GPU.

    On a CPU it is measured in float32 with the worker's threads, for every precision: then two runs there compare.
    """
    if device.type == "cpu":
        return cpu_product_flops()
    known = find_device(torch.cuda.get_device_name(device))
    return None if known is None else known.flops(precision, tf32=tf32)


def emulation_warning(device_name: str, precision: Precision) -> str | None:
    """Return a line for bf16 on a device that emulates it; None where nothing is to be logged."""
    known = find_device(device_name)
    if precision != "bf16" or known is None or known.has_bf16:
        return None
    return (
        f"{device_name} has no bf16: it is emulated, at a fraction of the speed; "
        "--precision fp16 (with loss scaling) or fp32 runs in hardware and is another run"
    )


@functools.lru_cache(maxsize=1)
def cpu_product_flops(size: int = 512, repeats: int = 6) -> float:
    """Return the best rate of float32 products in this process, measured once; no random number is drawn.

    oneDNN, to which large layers go (sharedris/cpu_kernels.py), or torch's own library, where that is faster.
    """
    left, right, out = (torch.ones(size, size) for _ in range(3))

    def by_onednn() -> None:
        torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")

    def by_torch() -> None:
        torch.mm(left, right, out=out)

    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call] # torch has no types for it
    with torch.inference_mode():
        fastest = min(_fastest(work, repeats) for work in ([by_onednn, by_torch] if available else [by_torch]))
    return 2 * size**3 / fastest


def _fastest(work: Callable[[], object], repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
