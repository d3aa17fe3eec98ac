"""The number format of the forward pass: autocast for a precision by name."""

from __future__ import annotations

import contextlib

import torch

from sharedris.config import Precision

AUTOCAST_DTYPE: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the context in which forward runs; nothing for fp32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_DTYPE[precision])
