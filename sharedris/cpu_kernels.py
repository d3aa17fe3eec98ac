"""Faster kernels for CPUs: `use_cpu_kernels(model)` swaps them in. On a GPU nothing here runs.

torch sends float32 products on CPUs to MKL, which reaches half of an AMD core's rate (97 against 190 GFLOPS on Zen 5);
oneDNN, which torch includes and uses for bfloat16 and convolutions, reaches about the same rate on every maker's CPU.
A forward pass and a training step of the base model take half the time. Small products stay with torch, whose call
costs less, and so do traced and compiled models.

Shapes: B batch, H heads, N rows or query tokens, M key tokens, d channels of a head, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from sharedris.layers import FusedAttention, MultiHeadAttention, attention_weights

SMALLEST_PRODUCT = 2**25
"""Multiply-accumulates below which the more expensive call costs more than the faster product saves."""

FEWEST_ROWS_TO_CAST = 64
"""Rows from which autocast on a CPU may cast a layer's weights; for fewer the cast takes longer than the product."""


def use_cpu_kernels(model: nn.Module) -> None:
    """Make the layers of a model on a CPU use the kernels of this file; does nothing on other devices.

    Only the classes of the modules change: parameters, state-dict names, hooks and copies stay as they are. A model
    that is moved to a GPU later runs torch's kernels again.
    """
    if next(model.parameters()).device.type != "cpu":
        return
    for module in model.modules():
        if type(module) in _KERNELS:
            module.__class__ = _KERNELS[type(module)]


class CpuLinear(nn.Linear):
    """`nn.Linear` by the faster library; equal up to rounding."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (..., O) of (..., I)."""
        return linear(input, self.weight, self.bias)


class CpuMultiHeadAttention(MultiHeadAttention):
    """`MultiHeadAttention` with its partial projections by the faster library."""

    def project_rows(self, tokens_BND: Tensor, rows: slice) -> Tensor:
        """Return some outputs of `qkv`."""
        return linear(tokens_BND, self.qkv.weight[rows], self.qkv.bias[rows])


class CpuAttention(FusedAttention):
    """`FusedAttention` by oneDNN's products where they are faster."""

    def forward(self, query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, visible_B11M: Tensor | None) -> Tensor:
        """Return the attended values, (B, H, N, d)."""
        multiplications = query_BHNd[0, 0].numel() * key_BHMd.shape[2]
        alike = query_BHNd.dtype == key_BHMd.dtype == value_BHMd.dtype
        if alike and not torch.is_grad_enabled() and large_on_cpu(query_BHNd, multiplications):
            return _attend_head_by_head(query_BHNd, key_BHMd, value_BHMd, visible_B11M)
        if query_BHNd.device.type == "cpu" and query_BHNd.dtype == torch.bfloat16:
            # On CPUs torch's fused kernel multiplies bfloat16 by MKL; the plain products go to oneDNN: as exact, and a
            # training step of the base encoder takes three quarters of the time (but keeps the weights in memory).
            return attention_weights(query_BHNd, key_BHMd, visible_B11M).to(value_BHMd.dtype) @ value_BHMd
        return super().forward(query_BHNd, key_BHMd, value_BHMd, visible_B11M)


_KERNELS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: CpuLinear,
    MultiHeadAttention: CpuMultiHeadAttention,
    FusedAttention: CpuAttention,
}


def _attend_head_by_head(
    query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, visible_B11M: Tensor | None
) -> Tensor:
    """Return the attended values by oneDNN's products, whose operands are matrices; a head's weights stay in the cache.

    torch's fused kernel multiplies by MKL, at half of the rate. Only for inference: a backward pass would have to keep
    or recompute the weights.
    """
    multiply = product if query_BHNd.dtype == torch.float32 else functional.linear
    batch, heads, tokens, channels = query_BHNd.shape
    attended_BNHd = query_BHNd.new_empty(batch, tokens, heads, channels)
    for sample in range(batch):
        query_HNd = (query_BHNd[sample] * channels**-0.5).contiguous()
        key_HMd, value_HdM = key_BHMd[sample].contiguous(), value_BHMd[sample].transpose(1, 2).contiguous()
        hidden_1M = None if visible_B11M is None else ~visible_B11M[sample % len(visible_B11M), 0]
        for head in range(heads):
            weights_NM = multiply(query_HNd[head], key_HMd[head])
            if hidden_1M is not None:
                weights_NM.masked_fill_(hidden_1M, float("-inf"))
            torch.softmax(weights_NM, dim=-1, out=weights_NM)
            attended_BNHd[sample, :, head] = multiply(weights_NM, value_HdM[head])
    return attended_BNHd.transpose(1, 2)


def linear(tokens: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """Return tokens weight^T + bias, as `torch.nn.functional.linear`."""
    if _cast_costs_more(tokens, weight_OI):
        with torch.autocast("cpu", enabled=False):
            return functional.linear(tokens.float(), weight_OI, bias_O).to(torch.get_autocast_dtype("cpu"))
    if not _by_onednn(tokens, weight_OI):
        return functional.linear(tokens, weight_OI, bias_O)
    if torch.is_grad_enabled() and (tokens.requires_grad or weight_OI.requires_grad):
        # Rows in two dimensions: the layer's output may then be changed in place, which autograd forbids for a view.
        rows_NI = tokens.reshape(-1, tokens.shape[-1])
        rows_NO: Tensor = _OneDnnLinear.apply(rows_NI, weight_OI, bias_O)  # type: ignore[no-untyped-call] # of torch
        return rows_NO.view(*tokens.shape[:-1], -1)
    return product(tokens, weight_OI, bias_O)


def large_on_cpu(operand: Tensor, multiplications: int) -> bool:
    """Return whether a product is on the CPU and large enough for oneDNN; False in traced and compiled models."""
    if _is_traced():
        return False  # checked first: a traced shape is not a plain number
    return (
        operand.device.type == "cpu"
        and operand.dtype in (torch.float32, torch.bfloat16)
        and multiplications >= SMALLEST_PRODUCT
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call] # torch has no types for it
        and bool(torch.backends.mkldnn.enabled)
    )


def _is_traced() -> bool:
    tracing: bool = torch.jit.is_tracing()  # type: ignore[no-untyped-call] # torch has no types for it
    return tracing or torch.compiler.is_compiling()


def _by_onednn(tokens: Tensor, weight_OI: Tensor) -> bool:
    """Return whether a linear layer is a large float32 product; torch sends bfloat16 to oneDNN itself."""
    return (
        large_on_cpu(tokens, tokens.numel() * weight_OI.shape[0])
        and tokens.dtype == weight_OI.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def _cast_costs_more(tokens: Tensor, weight_OI: Tensor) -> bool:
    """Return whether this is a layer over a few tokens under a CPU's autocast, such as the words of one sentence.

    A layer over one row per sample, as in the mask head, is cast as torch does: earlier scores of bf16 stay the same.
    """
    if _is_traced() or tokens.device.type != "cpu" or tokens.ndim < 3:
        return False
    rows = tokens.numel() // tokens.shape[-1]
    return torch.is_autocast_enabled("cpu") and weight_OI.dtype == torch.float32 and rows < FEWEST_ROWS_TO_CAST


def product(rows: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return rows weight^T + bias of float32 by oneDNN, without a gradient; check `large_on_cpu` first."""
    # Contiguous operands only: for others oneDNN falls back to code that is slower by orders of magnitude.
    operands = rows.contiguous(), weight_OI.contiguous(), bias_O
    output: Tensor = torch.ops.mkldnn._linear_pointwise(*operands, "none", [], "")
    return output


class _OneDnnLinear(torch.autograd.Function):
    """oneDNN's product with its gradients, which torch has only for MKL. Operands are laid out in rows first."""

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
