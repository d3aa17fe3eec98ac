"""Shared mask decoder: fusion layers over the FPN's tokens, then the head that makes logits (equations 8 to 11).

Shapes: B batch, V visual tokens, T text tokens, S = V + T, W width, G side of the patch grid, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.config import ModelConfig
from sharedris.fusion import BiDirectionFusion, build_fusion
from sharedris.layers import Mlp, add_residual


class DecoderLayer(nn.Module):
    """A fusion module and an MLP shared by both modalities (the bi-direction module brings its own MLP)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        fusion = config.decoder.fusion
        self.fusion = build_fusion(config.decoder.kind, config.width, fusion)
        self.norm: nn.LayerNorm | None = None
        if not isinstance(self.fusion, BiDirectionFusion):
            self.norm = nn.LayerNorm(config.width)
            self.mlp = Mlp(config.width, fusion.mlp_width)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return u of equation 9, (B, S, W)."""
        tokens_BSW = self.fusion(tokens_BSW, visible_B11S, visual_tokens)
        if self.norm is None:
            return tokens_BSW
        return add_residual(self.mlp(self.norm(tokens_BSW)), tokens_BSW, None)


class SharedDecoder(nn.Module):
    """`config.decoder.layers` layers; with none of them the tokens pass ("No fusion", table VIII)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder.layers))

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W)."""
        for layer in self.layers:
            tokens_BSW = layer(tokens_BSW, visible_B11S, visual_tokens)
        return tokens_BSW


class UpsampleBlock(nn.Module):
    """Twice the size, then convolution, batch norm and ReLU (equation 10)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        # Tokens reach the head channels-last; a weight of the same layout spares a copy at every call.
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
        patches_BGGC = tokens_BSW[:, 1:visual_tokens].unflatten(1, (self.grid, self.grid))
        # Tokens are channels-last already: the permuted view is what the convolutions like best.
        map_BCHW = self.out(self.blocks(patches_BGGC.permute(0, 3, 1, 2)))
        text_class_BC = self.class_token(tokens_BSW[:, visual_tokens])
        return torch.einsum("bchw,bc->bhw", map_BCHW, text_class_BC.to(map_BCHW.dtype))
