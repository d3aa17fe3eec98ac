"""Whether an error is a fault of a GPU, which other hardware would not have."""

from __future__ import annotations

import torch

_SIGNS = (
    "uncorrectable ECC error",
    "uncorrectable NVLink error",
    "illegal memory access",
    "misaligned address",
    "unspecified launch failure",
    "hardware stack error",
    "illegal instruction",
    "GPU has fallen off the bus",
    "CUDA-capable device(s) is/are busy or unavailable",
    "no CUDA-capable device is detected",
    "device not ready",
    "CUDA error: unknown error",
    "NVML_ERROR_GPU_IS_LOST",
    "Xid",
)
"""Texts of cudaGetErrorString, NCCL and NVML. A device-side assert is absent: it is an error of the program."""


class DeviceFaultError(RuntimeError):
    """A GPU failed; the run may succeed on another one."""


def is_device_fault(error: BaseException) -> bool:
    """Return whether a GPU failed: torch raises AcceleratorError, and its libraries raise RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError) or not isinstance(error, RuntimeError):
        return False
    return any(sign in str(error) for sign in _SIGNS)
