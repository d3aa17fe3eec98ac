"""Layers that encoder, fusion and decoder share: attention in two exchangeable forms, MLP, stochastic depth.

Shapes: B batch, H heads, N query tokens, M key tokens, d channels of a head, D channels of a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional


class FusedAttention(nn.Module):
    """Softmax attention by torch's fused kernel, for training and inference."""

    def forward(self, query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, visible_B11M: Tensor | None) -> Tensor:
        """Return the attended values, (B, H, N, d).

        Args:
            query_BHNd: queries, not yet scaled.
            key_BHMd: keys.
            value_BHMd: values.
            visible_B11M: True where a key may be attended; None when all may.
        """
        return functional.scaled_dot_product_attention(query_BHNd, key_BHMd, value_BHMd, attn_mask=visible_B11M)


class ExplicitAttention(nn.Module):
    """The same function as two matrix products, which cost counters count in full (they undercount the fused one)."""

    def forward(self, query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, visible_B11M: Tensor | None) -> Tensor:
        """Return the attended values, (B, H, N, d); arguments as for `FusedAttention`."""
        weights_BHNM = attention_weights(query_BHNd, key_BHMd, visible_B11M)
        return weights_BHNM @ value_BHMd


def attention_weights(query_BHNd: Tensor, key_BHMd: Tensor, visible_B11M: Tensor | None) -> Tensor:
    """Return softmax(query key^T / sqrt(d)) over the visible keys, (B, H, N, M)."""
    scores_BHNM: Tensor = (query_BHNd * query_BHNd.shape[-1] ** -0.5) @ key_BHMd.transpose(-2, -1)
    if visible_B11M is not None:
        scores_BHNM = scores_BHNM.masked_fill(~visible_B11M, float("-inf"))
    return scores_BHNM.softmax(dim=-1)


@contextmanager
def explicit_attention(model: nn.Module) -> Iterator[nn.Module]:
    """Swap every fused attention of a model for the explicit one while the context lasts."""
    swapped = [
        (owner, name, child)
        for owner in model.modules()
        for name, child in owner.named_children()
        if isinstance(child, FusedAttention)
    ]
    for owner, name, _ in swapped:
        setattr(owner, name, ExplicitAttention())
    try:
        yield model
    finally:
        for owner, name, child in swapped:
            setattr(owner, name, child)


def split_heads(tokens_BND: Tensor, heads: int) -> Tensor:
    """Return (B, N, H * d) as (B, H, N, d), without a copy."""
    return torch.unflatten(tokens_BND, -1, (heads, -1)).transpose(1, 2)


def merge_heads(tokens_BHNd: Tensor) -> Tensor:
    """Return (B, H, N, d) as (B, N, H * d)."""
    return tokens_BHNd.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """Multi-head attention with biases; queries, keys and values of one input take one matrix product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.attend = FusedAttention()
        initialize_linear(self)

    def forward(self, tokens_BND: Tensor, visible_B11N: Tensor | None = None) -> Tensor:
        """Return self-attention over the tokens, (B, N, D)."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(tokens_BND).chunk(3, dim=-1))
        attended_BND: Tensor = self.out(merge_heads(self.attend(query, key, value, visible_B11N)))
        return attended_BND

    def project_query(self, tokens_BND: Tensor) -> Tensor:
        """Return only the queries, (B, H, N, d)."""
        return split_heads(self.project_rows(tokens_BND, slice(0, self.out.in_features)), self.heads)

    def project_key_value(self, tokens_BMD: Tensor) -> tuple[Tensor, Tensor]:
        """Return only keys and values, each (B, H, M, d)."""
        key, value = self.project_rows(tokens_BMD, slice(self.out.in_features, None)).chunk(2, dim=-1)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def project_rows(self, tokens_BND: Tensor, rows: slice) -> Tensor:
        """Return some outputs of `qkv`: those of these rows of its weight."""
        return functional.linear(tokens_BND, self.qkv.weight[rows], self.qkv.bias[rows])


def initialize_linear(module: nn.Module) -> None:
    """Draw the weights of all linear layers in a module as BEiT does: normal, 0.02, cut at two deviations; no bias.

    The residual branches of FPN and decoder then start near zero. With Xavier's deviation the first logits at the tiny
    scale were 50 and more, and the first epoch only reduced them.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)
            nn.init.zeros_(layer.bias)


class Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_width)
        self.fc2 = nn.Linear(hidden_width, width)
        initialize_linear(self)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """Return (B, N, D)."""
        output_BND: Tensor = self.fc2(functional.gelu(self.fc1(tokens_BND)))
        return output_BND


def add_residual(update_BND: Tensor, residual_BND: Tensor, keep_B11: Tensor | None) -> Tensor:
    """Return residual + update, written over `update_BND`: a linear layer's output, which autograd does not need."""
    if keep_B11 is not None:
        update_BND = update_BND * keep_B11.to(update_BND.dtype)
    if update_BND.dtype != residual_BND.dtype:
        return residual_BND + update_BND
    return update_BND.add_(residual_BND)
