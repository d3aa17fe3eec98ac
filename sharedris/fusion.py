"""Modules that exchange information between the two modalities (tables VII b and VIII b).

Shapes: B batch, V visual tokens, T text tokens, S = V + T, W width, I inner width, H heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sharedris.attention_row import AttentionRow, ClassTokenAttention, row_of_joined_tokens, row_of_text_tokens
from sharedris.config import FusionConfig
from sharedris.encoder import visible_text
from sharedris.layers import (
    FusedAttention,
    Mlp,
    MultiHeadAttention,
    add_residual,
    initialize_linear,
    merge_heads,
    split_heads,
)


class Fusion(nn.Module):
    """A fusion module; `sharedris/registry.py` lists them by name.

    Attributes:
        has_mlp: it contains an MLP, so that a decoder layer adds none.
    """

    has_mlp = False

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return the fused tokens, (B, S, W).

        Args:
            tokens_BSW: visual tokens, then text tokens.
            visible_B11S: False at padding; None when nothing is padded.
            visual_tokens: V.
        """
        raise NotImplementedError

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return the attentions by which the text class token reads visual tokens; none, unless a module has some."""
        return []


class SelfAttentionFusion(Fusion):
    """Pre-norm self-attention over all tokens (equations 6 and 8)."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, config.heads)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return tokens + MSA(LN(tokens)), (B, S, W); `visual_tokens` is not needed."""
        return add_residual(self.attention(self.norm(tokens_BSW), visible_B11S), tokens_BSW, None)

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return the self-attention."""
        return [ClassTokenAttention(self.attention.attend, row_of_joined_tokens)]


class CrossAttentionFusion(Fusion):
    """One attention used in both directions, visual tokens first (table VII b)."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, config.heads)
        self.attend_text = FusedAttention()

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return v + MHA(v, t), then t + MHA(t, v), concatenated again, (B, S, W)."""
        visual_BVW, text_BTW = tokens_BSW[:, :visual_tokens], tokens_BSW[:, visual_tokens:]
        visible_B11T = visible_text(visible_B11S, visual_tokens)
        normed_text_BTW = self.norm(text_BTW)
        query = self.attention.project_query(self.norm(visual_BVW))
        key, value = self.attention.project_key_value(normed_text_BTW)
        attended = merge_heads(self.attention.attend(query, key, value, visible_B11T))
        visual_BVW = add_residual(self.attention.out(attended), visual_BVW, None)
        query = self.attention.project_query(normed_text_BTW)
        key, value = self.attention.project_key_value(self.norm(visual_BVW))
        attended = merge_heads(self.attend_text(query, key, value, None))
        return torch.cat([visual_BVW, add_residual(self.attention.out(attended), text_BTW, None)], dim=1)

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return the attention of text over visual tokens."""
        return [ClassTokenAttention(self.attend_text, row_of_text_tokens)]


class PairAttention(nn.Module):
    """One score matrix read in both directions; always explicit, as it is V x T and small."""

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


def _row_of_pair(inputs: tuple[Any, ...], visual_tokens: int) -> AttentionRow:
    """Return the row of a `PairAttention`, in which the keys of the text are its queries over the visual keys."""
    keys_BHVd, keys_BHTd = inputs[:2]
    return AttentionRow(keys_BHTd[:, :, :1], keys_BHVd, None)


class BiDirectionFusion(Fusion):
    """Grounding DINO's image-text fusion (figure 5) and a shared MLP; inner width inferred from its cost cell."""

    has_mlp = True

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        inner = config.bi_width
        self.heads = config.bi_heads
        self.visual_norm, self.text_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.visual_keys, self.text_keys = nn.Linear(width, inner), nn.Linear(width, inner)
        self.visual_values, self.text_values = nn.Linear(width, inner), nn.Linear(width, inner)
        self.visual_out, self.text_out = nn.Linear(inner, width), nn.Linear(inner, width)
        self.visual_scale = nn.Parameter(torch.full((width,), config.bi_layer_scale))
        self.text_scale = nn.Parameter(torch.full((width,), config.bi_layer_scale))
        self.attend = PairAttention()
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = Mlp(width, config.mlp_width)
        initialize_linear(self)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return both modalities after simultaneous attention to each other and the MLP, (B, S, W)."""
        visual_BVW = self.visual_norm(tokens_BSW[:, :visual_tokens])
        text_BTW = self.text_norm(tokens_BSW[:, visual_tokens:])
        from_text, from_visual = self.attend(
            split_heads(self.visual_keys(visual_BVW), self.heads),
            split_heads(self.text_keys(text_BTW), self.heads),
            split_heads(self.visual_values(visual_BVW), self.heads),
            split_heads(self.text_values(text_BTW), self.heads),
            visible_text(visible_B11S, visual_tokens),
        )
        update_BVW = self.visual_scale * self.visual_out(merge_heads(from_text))
        update_BTW = self.text_scale * self.text_out(merge_heads(from_visual))
        tokens_BSW = tokens_BSW + torch.cat([update_BVW, update_BTW], dim=1)
        return add_residual(self.mlp(self.mlp_norm(tokens_BSW)), tokens_BSW, None)

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return the attention in both directions."""
        return [ClassTokenAttention(self.attend, _row_of_pair)]
