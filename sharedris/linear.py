"""Linear layers by oneDNN where torch would take MKL: large float32 products on a CPU.

torch sends float32 products on CPUs to MKL, which reaches half of an AMD core's rate (97 against 190 GFLOPS on Zen 5);
oneDNN, which torch brings along and uses for bfloat16 and convolutions anyway, reaches about the same on every maker's.
Small products stay with torch, whose call costs less, and so do traced and compiled models.

Shapes: N rows (all leading dimensions together), I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

SMALLEST_PRODUCT = 2**25
"""Multiply-accumulates below which the dearer call would cost more than the faster product saves."""

FEWEST_ROWS_TO_CAST = 64
"""Rows from which autocast on a CPU may cast a layer's weights; for fewer the cast takes longer than the product."""


class Linear(nn.Linear):
    """`nn.Linear`, with its parameters and its numbers (to rounding), by the faster library."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (..., O) of (..., I)."""
        return linear(tokens, self.weight, self.bias)


def linear(tokens: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """Return tokens weight^T + bias, as `torch.nn.functional.linear`."""
    if _casts_in_vain(tokens, weight_OI):
        with torch.autocast("cpu", enabled=False):
            return functional.linear(tokens.float(), weight_OI, bias_O).to(torch.get_autocast_dtype("cpu"))
    if not _by_onednn(tokens, weight_OI):
        return functional.linear(tokens, weight_OI, bias_O)
    if torch.is_grad_enabled() and (tokens.requires_grad or weight_OI.requires_grad):
        # Rows in two dimensions: the layer's output may then be changed in place, which autograd forbids for a view.
        rows_NO = _OneDnnLinear.apply(tokens.reshape(-1, tokens.shape[-1]), weight_OI, bias_O)
        return rows_NO.view(*tokens.shape[:-1], -1)
    return product(tokens, weight_OI, bias_O)


def large_on_cpu(operand: Tensor, multiplications: int) -> bool:
    """Return whether a product on the CPU is large enough for oneDNN to be worth its call; traced ones never are."""
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False  # asked first: a traced shape is no plain number
    return (
        operand.device.type == "cpu"
        and operand.dtype in (torch.float32, torch.bfloat16)
        and multiplications >= SMALLEST_PRODUCT
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )


def _by_onednn(tokens: Tensor, weight_OI: Tensor) -> bool:
    # bfloat16 products go to oneDNN by themselves.
    return (
        large_on_cpu(tokens, tokens.numel() * weight_OI.shape[0])
        and tokens.dtype == weight_OI.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def _casts_in_vain(tokens: Tensor, weight_OI: Tensor) -> bool:
    """Return whether this is a layer over a few rows under a CPU's autocast, such as the words of one sentence."""
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or tokens.device.type != "cpu":
        return False
    rows = tokens.numel() // tokens.shape[-1]
    return torch.is_autocast_enabled("cpu") and weight_OI.dtype == torch.float32 and rows < FEWEST_ROWS_TO_CAST


def product(rows: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return rows weight^T + bias of float32 by oneDNN, without a gradient of its own; ask `large_on_cpu` first."""
    # Contiguous operands alone: with others oneDNN falls back to code that is slower by orders of magnitude.
    return torch.ops.mkldnn._linear_pointwise(rows.contiguous(), weight_OI.contiguous(), bias_O, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    """oneDNN's product with its gradients, which torch has for MKL alone. Operands are laid out in rows first."""

    @staticmethod
    def forward(ctx: FunctionCtx, tokens_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(tokens_NI, weight_OI)
        return product(tokens_NI, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NO: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        tokens_NI, weight_OI = ctx.saved_tensors
        for_tokens, for_weight, for_bias = ctx.needs_input_grad
        tokens_gradient = weight_gradient = bias_gradient = None
        if for_tokens:
            tokens_gradient = product(gradient_NO, weight_OI.t(), None)
        if for_weight:
            weight_gradient = product(gradient_NO.t(), tokens_NI.t(), None)
        if for_bias:
            bias_gradient = gradient_NO.sum(dim=0)
        return tokens_gradient, weight_gradient, bias_gradient
