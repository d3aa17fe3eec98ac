"""Modules that let the two modalities of the joined tokens meet (tables VII b and VIII b).

Shapes: B batch, V visual tokens, T text tokens, S = V + T, W width, I inner width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sharedris.config import FusionConfig
from sharedris.layers import (
    FusedAttention,
    Mlp,
    MultiHeadAttention,
    add_residual,
    initialise_linear,
    merge_heads,
    split_heads,
)
from sharedris.linear import Linear


class SelfAttentionFusion(nn.Module):
    """Pre-norm self-attention over all tokens (equations 6 and 8)."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, config.heads)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return tokens + MSA(LN(tokens)), (B, S, W); where the modalities meet (`visual_tokens`) does not matter."""
        return add_residual(self.attention(self.norm(tokens_BSW), visible_B11S), tokens_BSW, None)


class CrossAttentionFusion(nn.Module):
    """One attention used in both directions, visual tokens first (table VII b)."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, config.heads)
        self.attend_text = FusedAttention()

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return v + MHA(v, t), then t + MHA(t, v), joined again, (B, S, W)."""
        visual_BVW, text_BTW = tokens_BSW[:, :visual_tokens], tokens_BSW[:, visual_tokens:]
        visible_B11T = None if visible_B11S is None else visible_B11S[..., visual_tokens:]
        normed_text_BTW = self.norm(text_BTW)
        query = self.attention.project_query(self.norm(visual_BVW))
        key, value = self.attention.project_key_value(normed_text_BTW)
        attended = merge_heads(self.attention.attend(query, key, value, visible_B11T))
        visual_BVW = add_residual(self.attention.out(attended), visual_BVW, None)
        query = self.attention.project_query(normed_text_BTW)
        key, value = self.attention.project_key_value(self.norm(visual_BVW))
        attended = merge_heads(self.attend_text(query, key, value, None))
        return torch.cat([visual_BVW, add_residual(self.attention.out(attended), text_BTW, None)], dim=1)


class PairAttention(nn.Module):
    """One score matrix read both ways; explicit always, as it is V x T and small."""

    def forward(
        self,
        keys_BHVd: Tensor,
        keys_BHTd: Tensor,
        values_BHVd: Tensor,
        values_BHTd: Tensor,
        visible_B11T: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return what visual tokens read from text, (B, H, V, d), and text from visual tokens, (B, H, T, d)."""
        scores_BHVT = (keys_BHVd * keys_BHVd.shape[-1] ** -0.5) @ keys_BHTd.transpose(-2, -1)
        to_visual_BHTV = scores_BHVT.transpose(-2, -1).softmax(dim=-1)
        if visible_B11T is not None:
            scores_BHVT = scores_BHVT.masked_fill(~visible_B11T, float("-inf"))
        return scores_BHVT.softmax(dim=-1) @ values_BHTd, to_visual_BHTV @ values_BHVd


class BiDirectionFusion(nn.Module):
    """Grounding DINO's image-text fusion (figure 5) and a shared MLP; inner width inferred from its cost cell."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        inner = config.bi_width
        self.heads = config.bi_heads
        self.visual_norm, self.text_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.visual_keys, self.text_keys = Linear(width, inner), Linear(width, inner)
        self.visual_values, self.text_values = Linear(width, inner), Linear(width, inner)
        self.visual_out, self.text_out = Linear(inner, width), Linear(inner, width)
        self.visual_scale = nn.Parameter(torch.full((width,), config.bi_layer_scale))
        self.text_scale = nn.Parameter(torch.full((width,), config.bi_layer_scale))
        self.attend = PairAttention()
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = Mlp(width, config.mlp_width)
        initialise_linear(self)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return both modalities after reading each other at once, and the MLP, (B, S, W)."""
        visual_BVW = self.visual_norm(tokens_BSW[:, :visual_tokens])
        text_BTW = self.text_norm(tokens_BSW[:, visual_tokens:])
        from_text, from_visual = self.attend(
            split_heads(self.visual_keys(visual_BVW), self.heads),
            split_heads(self.text_keys(text_BTW), self.heads),
            split_heads(self.visual_values(visual_BVW), self.heads),
            split_heads(self.text_values(text_BTW), self.heads),
            None if visible_B11S is None else visible_B11S[..., visual_tokens:],
        )
        update_BVW = self.visual_scale * self.visual_out(merge_heads(from_text))
        update_BTW = self.text_scale * self.text_out(merge_heads(from_visual))
        tokens_BSW = tokens_BSW + torch.cat([update_BVW, update_BTW], dim=1)
        return add_residual(self.mlp(self.mlp_norm(tokens_BSW)), tokens_BSW, None)


FUSIONS: dict[str, type[SelfAttentionFusion] | type[CrossAttentionFusion] | type[BiDirectionFusion]] = {
    "self_attention": SelfAttentionFusion,
    "cross_attention": CrossAttentionFusion,
    "bi_direction": BiDirectionFusion,
}


def build_fusion(kind: str, width: int, config: FusionConfig) -> nn.Module:
    """Return the fusion module of that kind; FPN and decoder config have checked the name."""
    return FUSIONS[kind](width, config)
