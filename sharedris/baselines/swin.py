"""The Swin transformer (Liu et al., ICCV 2021), in stages between which the dual encoder fuses text.

CGFormer and DMMI use it as LAVT does. `bert_swin_weights.py` translates the parameter names of Hugging Face's
`SwinModel`.

Shapes: B batch, H x W positions of a stage, P = H W, C its channels, N positions of a window, K windows, h heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sharedris.baselines.config import SwinConfig
from sharedris.baselines.pyramid import side_of
from sharedris.draws import RandomModule
from sharedris.layers import Mlp, initialize_linear, merge_heads, split_heads

MLP_RATIO = 4
APART = -100.0
"""Added to the score of two positions that only the cyclic shift made neighbors, as in the authors' code."""


class WindowAttention(nn.Module):
    """Attention within windows, with a learned bias for each offset of two positions and each head."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.offset_bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.offset_bias, std=0.02)
        initialize_linear(self)

    def forward(self, windows_KNC: Tensor, offsets_NN: Tensor, apart_KNN: Tensor | None) -> Tensor:
        """Return (K, N, C); `offsets_NN` are rows of the bias table, `apart_KNN` holds 0 or `APART` for one image."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(windows_KNC).chunk(3, dim=-1))
        scores_KhNN = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        scores_KhNN = scores_KhNN + self.offset_bias[offsets_NN].permute(2, 0, 1)
        if apart_KNN is not None:
            by_image = torch.unflatten(scores_KhNN, 0, (-1, len(apart_KNN))) + apart_KNN[None, :, None]
            scores_KhNN = by_image.flatten(0, 1)
        attended_KNC: Tensor = self.out(merge_heads(scores_KhNN.softmax(dim=-1) @ value))
        return attended_KNC


class SwinBlock(RandomModule):
    """Window attention and MLP, norms first; every second block shifts its windows by half of one."""

    def __init__(self, width: int, heads: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift, self.drop_path = window, shift, drop_path
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, window)
        self.mlp = Mlp(width, MLP_RATIO * width)

    def forward(self, pixels_BPC: Tensor, side: int, offsets_NN: Tensor, apart_KNN: Tensor) -> Tensor:
        """Return (B, P, C); the map is square, `side` positions along each side."""
        attended_BPC = self._attend(self.attention_norm(pixels_BPC), side, offsets_NN, apart_KNN)
        pixels_BPC = pixels_BPC + self._keep(attended_BPC, 0)
        return pixels_BPC + self._keep(self.mlp(self.mlp_norm(pixels_BPC)), 1)

    def _attend(self, pixels_BPC: Tensor, side: int, offsets_NN: Tensor, apart_KNN: Tensor) -> Tensor:
        rest = -side % self.window
        map_BHWC = functional.pad(torch.unflatten(pixels_BPC, 1, (side, side)), (0, 0, 0, rest, 0, rest))
        apart = None
        if self.shift:
            map_BHWC = torch.roll(map_BHWC, (-self.shift, -self.shift), dims=(1, 2))
            apart = apart_KNN.to(map_BHWC.dtype)
        map_BHWC = self._join(self.attention(self._cut(map_BHWC), offsets_NN, apart), side + rest)
        if self.shift:
            map_BHWC = torch.roll(map_BHWC, (self.shift, self.shift), dims=(1, 2))
        return map_BHWC[:, :side, :side].flatten(1, 2)

    def _cut(self, map_BHWC: Tensor) -> Tensor:
        """Return the map's windows, (K, N, C), those of one image after another."""
        rows = torch.unflatten(torch.unflatten(map_BHWC, 1, (-1, self.window)), 3, (-1, self.window))
        return rows.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def _join(self, windows_KNC: Tensor, side: int) -> Tensor:
        """Return the map, (B, H, W, C), of windows that `_cut` made."""
        across = side // self.window
        grid = torch.unflatten(torch.unflatten(windows_KNC, 0, (-1, across, across)), 3, (self.window, self.window))
        return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _keep(self, update_BPC: Tensor, part: int) -> Tensor:
        if not self.training or self.drop_path == 0:
            return update_BPC
        return update_BPC * self.sample_keep(update_BPC, self.drop_path, part=part)


def apart_after_shift(side: int, window: int, device: torch.device) -> Tensor:
    """Return `APART` for two positions of a window that only the shift made neighbors, else 0, (K, N, N).

    Computed on the device, as a copy from the host would wait for it.
    """
    place = torch.arange(side, device=device)
    part = (place >= side - window).long() + (place >= side - window // 2)
    region_HW = 3 * part[:, None] + part
    rows = torch.unflatten(torch.unflatten(region_HW, 0, (-1, window)), 2, (-1, window))
    cut_KN = rows.transpose(1, 2).flatten(2, 3).flatten(0, 1)
    return (cut_KN[:, :, None] != cut_KN[:, None, :]) * APART


def offset_rows(window: int, device: torch.device) -> Tensor:
    """Return the row of the bias table for each two positions of a window, (N, N)."""
    place = torch.arange(window**2, device=device)
    y, x = place // window, place % window
    down, right = y[:, None] - y + window - 1, x[:, None] - x + window - 1
    return down * (2 * window - 1) + right


class Merge(nn.Module):
    """Each 2x2 neighbors become one position with twice the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, pixels_BPC: Tensor, side: int) -> Tensor:
        """Return (B, P / 4, 2 C); an odd side is padded by zeros."""
        odd = side % 2
        map_BHWC = functional.pad(torch.unflatten(pixels_BPC, 1, (side, side)), (0, 0, 0, odd, 0, odd))
        quarters = [map_BHWC[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged_BPC: Tensor = self.reduce(self.norm(torch.cat(quarters, dim=-1).flatten(1, 2)))
        return merged_BPC


class SwinStage(nn.Module):
    """Blocks of one resolution, and the reduction to the next one."""

    def __init__(self, config: SwinConfig, index: int, rates: list[float], *, merges: bool) -> None:
        super().__init__()
        width = config.widths[index]
        self.blocks = nn.ModuleList(
            SwinBlock(width, config.heads[index], config.window, (depth % 2) * (config.window // 2), rate)
            for depth, rate in enumerate(rates)
        )
        self.merge = Merge(width) if merges else None
        self.norm = nn.LayerNorm(width)  # of the map that goes to the decoder


class Swin(nn.Module):
    """The transformer's parts; the dual encoder runs the stages with the fusion between them."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.config = config
        self.patches = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        self.patch_norm = nn.LayerNorm(config.width)
        total = sum(config.depths)
        rates = [config.drop_path * depth / max(total - 1, 1) for depth in range(total)]
        starts = [sum(config.depths[:index]) for index in range(4)]
        self.stages = nn.ModuleList(
            SwinStage(config, index, rates[start : start + depth], merges=index < 3)
            for index, (start, depth) in enumerate(zip(starts, config.depths, strict=True))
        )

    def embed(self, image_BCHW: Tensor) -> Tensor:
        """Return the patches, (B, P, C)."""
        pixels_BPC: Tensor = self.patch_norm(self.patches(image_BCHW).flatten(2).transpose(1, 2))
        return pixels_BPC

    def run_blocks(self, index: int, pixels_BPC: Tensor, *, recompute: bool) -> Tensor:
        """Return a stage's pixels before they are merged, (B, P, C); `recompute` saves memory in the backward pass."""
        side, window = side_of(pixels_BPC), self.config.window
        offsets_NN = offset_rows(window, pixels_BPC.device)
        apart_KNN = apart_after_shift(side + -side % window, window, pixels_BPC.device)
        for block in self.stages[index].blocks:  # type: ignore[union-attr] # a ModuleList
            arguments: tuple[Any, ...] = (pixels_BPC, side, offsets_NN, apart_KNN)
            pixels_BPC = checkpoint(block, *arguments, use_reentrant=False) if recompute else block(*arguments)
        return pixels_BPC
