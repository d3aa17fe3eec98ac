"""Layers that encoder, fusion and decoder share: attention in two exchangeable forms, MLP, stochastic depth.

Shapes: B batch, H heads, N query tokens, M key tokens, d channels of a head, D channels of a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.linear import Linear, large_on_cpu, linear, product


class FusedAttention(nn.Module):
    """Softmax attention by torch's fused kernel; what training and inference run."""

    def forward(self, query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, visible_B11M: Tensor | None) -> Tensor:
        """Return the attended values, (B, H, N, d).

        Args:
            query_BHNd: queries, not yet scaled.
            key_BHMd: keys.
            value_BHMd: values.
            visible_B11M: True where a key may be attended; None when all may.
        """
        multiplications = query_BHNd[0, 0].numel() * key_BHMd.shape[2]
        alike = query_BHNd.dtype == key_BHMd.dtype == value_BHMd.dtype
        if alike and not torch.is_grad_enabled() and large_on_cpu(query_BHNd, multiplications):
            return _attend_head_by_head(query_BHNd, key_BHMd, value_BHMd, visible_B11M)
        if query_BHNd.device.type == "cpu" and query_BHNd.dtype == torch.bfloat16:
            # On CPUs torch's fused kernel multiplies bfloat16 by MKL; the plain products go to oneDNN: as exact, and a
            # training step of the base encoder takes three quarters of the time (but keeps the weights in memory).
            return attention_weights(query_BHNd, key_BHMd, visible_B11M).to(value_BHMd.dtype) @ value_BHMd
        return functional.scaled_dot_product_attention(query_BHNd, key_BHMd, value_BHMd, attn_mask=visible_B11M)


class ExplicitAttention(nn.Module):
    """The same function as two matrix products, which cost counters see in full (they undercount the fused one)."""

    def forward(self, query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, visible_B11M: Tensor | None) -> Tensor:
        """Return the attended values, (B, H, N, d); arguments as for `FusedAttention`."""
        weights_BHNM = attention_weights(query_BHNd, key_BHMd, visible_B11M)
        return weights_BHNM @ value_BHMd


def _attend_head_by_head(
    query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, visible_B11M: Tensor | None
) -> Tensor:
    """Return the attended values by oneDNN's products, whose operands are matrices; a head's weights stay in the cache.

    torch's fused kernel multiplies by MKL, at half of the rate (see `sharedris.linear`). Inference alone: a backward
    pass would have to keep or recompute the weights.
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


def attention_weights(query_BHNd: Tensor, key_BHMd: Tensor, visible_B11M: Tensor | None) -> Tensor:
    """Return softmax(query key^T / sqrt(d)) over the visible keys, (B, H, N, M)."""
    scores_BHNM = (query_BHNd * query_BHNd.shape[-1] ** -0.5) @ key_BHMd.transpose(-2, -1)
    if visible_B11M is not None:
        scores_BHNM = scores_BHNM.masked_fill(~visible_B11M, float("-inf"))
    return scores_BHNM.softmax(dim=-1)


@contextmanager
def explicit_attention(model: nn.Module) -> Iterator[nn.Module]:
    """Swap every fused attention of a model for the explicit one while the context lasts."""
    owners = [
        (owner, name)
        for owner in model.modules()
        for name, child in owner.named_children()
        if isinstance(child, FusedAttention)
    ]
    for owner, name in owners:
        setattr(owner, name, ExplicitAttention())
    try:
        yield model
    finally:
        for owner, name in owners:
            setattr(owner, name, FusedAttention())


def split_heads(tokens_BND: Tensor, heads: int) -> Tensor:
    """Return (B, N, H * d) as (B, H, N, d), without a copy."""
    return tokens_BND.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(tokens_BHNd: Tensor) -> Tensor:
    """Return (B, H, N, d) as (B, N, H * d)."""
    return tokens_BHNd.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """Multi-head attention with biases; queries, keys and values of one input take one matrix product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.attend = FusedAttention()
        initialise_linear(self)

    def forward(self, tokens_BND: Tensor, visible_B11N: Tensor | None = None) -> Tensor:
        """Return self-attention over the tokens, (B, N, D)."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(tokens_BND).chunk(3, dim=-1))
        return self.out(merge_heads(self.attend(query, key, value, visible_B11N)))

    def project_query(self, tokens_BND: Tensor) -> Tensor:
        """Return the queries alone, (B, H, N, d)."""
        width = self.out.in_features
        return split_heads(linear(tokens_BND, self.qkv.weight[:width], self.qkv.bias[:width]), self.heads)

    def project_key_value(self, tokens_BMD: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values alone, each (B, H, M, d)."""
        width = self.out.in_features
        key_value = linear(tokens_BMD, self.qkv.weight[width:], self.qkv.bias[width:])
        key, value = key_value.chunk(2, dim=-1)
        return split_heads(key, self.heads), split_heads(value, self.heads)


def initialise_linear(module: nn.Module) -> None:
    """Draw the weights of all linear layers in a module as BEiT does: normal, 0.02, cut at two deviations; no bias.

    The residual branches of FPN and decoder then start near zero. With Xavier's deviation the first logits at the tiny
    scale were 50 and more, and the first epoch was lost on shrinking them.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)
            nn.init.zeros_(layer.bias)


class Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden_width)
        self.fc2 = Linear(hidden_width, width)
        initialise_linear(self)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """Return (B, N, D)."""
        return self.fc2(functional.gelu(self.fc1(tokens_BND)))


def sample_keep(tokens_BND: Tensor, drop_path: float) -> Tensor:
    """Return each sample's stochastic-depth factor, (B, 1, 1): 0 with probability `drop_path`, else 1 / (1 - p)."""
    keep = 1.0 - drop_path
    draws_B11 = torch.rand(tokens_BND.shape[0], 1, 1, device=tokens_BND.device)
    return (draws_B11 < keep).to(tokens_BND.dtype) / keep


def add_residual(update_BND: Tensor, residual_BND: Tensor, keep_B11: Tensor | None) -> Tensor:
    """Return residual + update, written over `update_BND`: a linear layer's output, which autograd does not need."""
    if keep_B11 is not None:
        update_BND = update_BND * keep_B11.to(update_BND.dtype)
    if update_BND.dtype != residual_BND.dtype:
        return residual_BND + update_BND
    return update_BND.add_(residual_BND)
