"""Shared mask decoder: fusion layers over the FPN's tokens, then the head that makes logits (equations 8 to 11).

Shapes: B batch, V visual tokens, T text tokens, S = V + T, W width, G side of the patch grid, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.attention_row import ClassTokenAttention, attentions_of
from sharedris.config import ModelConfig
from sharedris.layers import Mlp, add_residual


class DecoderLayer(nn.Module):
    """A fusion module, then an MLP shared by both modalities unless the fusion module has one."""

    def __init__(self, fusion: nn.Module, width: int, mlp_width: int) -> None:
        super().__init__()
        self.fusion = fusion
        self.norm: nn.LayerNorm | None = None
        if not getattr(fusion, "has_mlp", False):
            self.norm = nn.LayerNorm(width)
            self.mlp = Mlp(width, mlp_width)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return u of equation 9, (B, S, W)."""
        tokens_BSW = self.fusion(tokens_BSW, visible_B11S, visual_tokens)
        if self.norm is None:
            return tokens_BSW
        return add_residual(self.mlp(self.norm(tokens_BSW)), tokens_BSW, None)

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return those of the fusion module."""
        return attentions_of([self.fusion])


class SharedDecoder(nn.Module):
    """Fusion layers in sequence; without layers the tokens pass unchanged ("No fusion", table VIII)."""

    def __init__(self, layers: Iterable[DecoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W)."""
        for layer in self.layers:
            tokens_BSW = layer(tokens_BSW, visible_B11S, visual_tokens)
        return tokens_BSW

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return those of the last layer."""
        return attentions_of(self.layers[-1:])


class UpsampleBlock(nn.Module):
    """Upsampling by two, then convolution, batch norm and ReLU (equation 10)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        # Tokens reach the head channels-last; a weight of the same layout avoids a copy per call.
        self.convolution.weight.data = self.convolution.weight.data.to(memory_format=torch.channels_last)

    def forward(self, map_BCHW: Tensor) -> Tensor:
        """Return (B, C, 2H, 2W)."""
        doubled = functional.interpolate(map_BCHW, scale_factor=2, mode="bilinear", align_corners=False)
        return functional.relu(self.norm(self.convolution(doubled)), inplace=True)


class MaskHead(nn.Module):
    """Dot product of upsampled patches with the text class token (equation 11, before the sigmoid)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.head.class_token_hidden
        self.grid = config.encoder.grid
        self.blocks = nn.Sequential(*(UpsampleBlock(width) for _ in range(config.head.upsample_blocks)))
        self.out = nn.Conv2d(width, width, 1) if config.head.output_convolution else nn.Identity()
        self.class_token = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width))

    def forward(self, tokens_BSW: Tensor, visual_tokens: int) -> Tensor:
        """Return logits, (B, H, W), of the joined tokens."""
        patches_BGGC = torch.unflatten(tokens_BSW[:, 1:visual_tokens], 1, (self.grid, self.grid))
        # Tokens are channels-last already: the permuted view has the layout in which convolutions are fastest.
        map_BCHW = self.out(self.blocks(patches_BGGC.permute(0, 3, 1, 2)))
        text_class_BC = self.class_token(tokens_BSW[:, visual_tokens])
        return torch.einsum("bchw,bc->bhw", map_BCHW, text_class_BC.to(map_BCHW.dtype))
