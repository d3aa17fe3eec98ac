"""The numerics of a run: autocast for a precision by name, products of float32, and kernels that repeat their bits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from sharedris.config import Float32Products, Precision

AUTOCAST_DTYPE: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_WORKSPACE, _FIXED_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""With a fixed workspace cuBLAS chooses the same kernels in every run; torch asks for it to be deterministic."""


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the context in which forward runs; nothing for fp32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_DTYPE[precision])


def weights_cast_once(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return a context in which `autocast` casts each weight once instead of in every forward pass.

    For evaluation under `torch.no_grad`: weights must not change in it, and in inference mode torch keeps no casts. It
    forgets them when the outermost autocast ends, also when that one casts nothing itself.
    """
    return torch.autocast(device.type, enabled=False)


@contextlib.contextmanager
def numerics(float32_products: Float32Products, *, deterministic: bool) -> Iterator[None]:
    """Set how torch computes in this process, and set it back.

    Args:
        float32_products: "float32" keeps all bits of float32 operands on GPUs; "tf32" lets products and convolutions of
            float32 round them to TF32, where a GPU has it. torch by itself does so for convolutions.
        deterministic: let kernels that do not repeat their bits fail or be replaced; on a GPU call this before any work
            there, since cuBLAS reads its workspace's size once.
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    workspace = os.environ.get(_WORKSPACE)
    try:
        torch.set_float32_matmul_precision("high" if float32_products == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = float32_products == "tf32"
        if deterministic:
            os.environ.setdefault(_WORKSPACE, _FIXED_WORKSPACE)
            torch.use_deterministic_algorithms(True)
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
        torch.use_deterministic_algorithms(was_deterministic)
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)


def numerics_in_words() -> dict[str, str | bool]:
    """Return what `numerics` has set in this process, for the record."""
    return {
        "float32_products": "float32" if torch.get_float32_matmul_precision() == "highest" else "tf32",
        "float32_convolutions": "tf32" if torch.backends.cudnn.allow_tf32 else "float32",
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
