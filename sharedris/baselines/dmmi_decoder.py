"""DMMI's decoder (Hu et al., ICCV 2023, sections 3.3 and 3.4): a text-to-image and an image-to-text branch.

The text-to-image branch makes the mask: maps from the coarsest to the finest, with a transformer decoder layer over the
words between them. The image-to-text branch runs only in training: it reconstructs hidden words from the image, and
makes an image vector that must be nearest to its sentence. Written from the paper and the behavior of its authors'
code; the golden file compares both.

Shapes: B batch, C width, H = W side of a map, P its pixels, T text tokens, N queries, M keys.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.baselines.config import DmmiConfig
from sharedris.baselines.cris_fpn import convolution_block
from sharedris.baselines.pyramid import join_finer
from sharedris.draws import Dropout
from sharedris.layers import MultiHeadAttention, merge_heads


class Readings(NamedTuple):
    """The decoder's output; the last two exist only in training."""

    logits_B2HW: Tensor  # background, foreground
    text_BTC: Tensor | None  # the words as reconstructed from the image
    image_BC: Tensor | None  # one vector of the image


class CrossLayer(nn.Module):
    """A transformer decoder layer, norms last: self-attention, attention over the other modality, MLP with ReLU."""

    def __init__(self, width: int, heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.own, self.other = MultiHeadAttention(width, heads), MultiHeadAttention(width, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.fc1, self.fc2 = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self, tokens_BNC: Tensor, memory_BMC: Tensor, own_B11N: Tensor | None, visible_B11M: Tensor | None
    ) -> Tensor:
        """Return (B, N, C); the last two arguments are False at padding of the tokens and of the memory."""
        tokens_BNC = self.norms[0](tokens_BNC + self.dropout(self.own(tokens_BNC, own_B11N)))
        key, value = self.other.project_key_value(memory_BMC)
        read = self.other.attend(self.other.project_query(tokens_BNC), key, value, visible_B11M)
        tokens_BNC = self.norms[1](tokens_BNC + self.dropout(self.other.out(merge_heads(read))))
        hidden_BNF = self.dropout(functional.relu(self.fc1(tokens_BNC)))
        output_BNC: Tensor = self.norms[2](tokens_BNC + self.dropout(self.fc2(hidden_BNF)))
        return output_BNC


class ImageToText(nn.Module):
    """The branch that runs only in training: words from the image, and a vector of the image."""

    def __init__(self, options: DmmiConfig) -> None:
        super().__init__()
        width = options.width
        self.pixels = convolution_block(width, width, 3)
        self.layer = CrossLayer(width, options.heads, options.mlp_width, options.dropout)
        self.vectors = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.align = nn.Linear(width, width)

    def words(self, text_BTC: Tensor, map_BCHW: Tensor, visible_B11T: Tensor | None) -> Tensor:
        """Return the words as reconstructed from the map, (B, T, C); some of the given ones are hidden."""
        words_BTC: Tensor = self.layer(text_BTC, self.pixels(map_BCHW).flatten(2).transpose(1, 2), visible_B11T, None)
        return words_BTC

    def vector(self, maps: list[Tensor]) -> Tensor:
        """Return one vector, (B, C), from the three maps, coarsest first."""
        vector_BC, *others = [map_BCHW.mean(dim=(2, 3)) for map_BCHW in maps]
        for join, other_BC in zip(self.vectors, others, strict=True):
            vector_BC = join(torch.cat([vector_BC, other_BC], dim=1))
        return vector_BC


class DmmiDecoder(nn.Module):
    """The decoder over four maps and the words; inside, pixels have the width of the words."""

    def __init__(self, options: DmmiConfig) -> None:
        super().__init__()
        width, maps = options.width, options.pyramid_widths
        self.joins = nn.ModuleList(
            nn.Sequential(convolution_block(above + own, width, 3), convolution_block(width, width, 3))
            for above, own in zip((maps[0], width, width), maps[1:], strict=True)
        )
        self.layers = nn.ModuleList(
            CrossLayer(width, options.heads, options.mlp_width, options.dropout) for _ in range(2)
        )
        self.out = nn.Conv2d(width, 2, 1)
        self.image_to_text = ImageToText(options)

    def forward(
        self, maps: list[Tensor], text_BTC: Tensor, hidden_BTC: Tensor | None, visible_B11T: Tensor | None
    ) -> Readings:
        """Return the two logits of each pixel, at the finest map's side, and the output of the image-to-text branch.

        Args:
            maps: from the coarsest to the finest.
            text_BTC: the words.
            hidden_BTC: the words with some of them hidden; None skips the image-to-text branch.
            visible_B11T: False at padding; None when nothing is padded.
        """
        joined = [self.joins[0](join_finer(maps[0], maps[1]))]
        for layer, join, finer_BCHW in zip(self.layers, list(self.joins)[1:], maps[2:], strict=True):
            joined.append(join(join_finer(self._read(layer, joined[-1], text_BTC, visible_B11T), finer_BCHW)))
        logits_B2HW = self.out(joined[-1])
        if hidden_BTC is None:
            return Readings(logits_B2HW, None, None)
        words_BTC = self.image_to_text.words(hidden_BTC, joined[1], visible_B11T)
        return Readings(logits_B2HW, words_BTC, self.image_to_text.vector(joined))

    @staticmethod
    def _read(layer: nn.Module, map_BCHW: Tensor, text_BTC: Tensor, visible_B11T: Tensor | None) -> Tensor:
        pixels_BPC: Tensor = layer(map_BCHW.flatten(2).transpose(1, 2), text_BTC, None, visible_B11T)
        return torch.unflatten(pixels_BPC.transpose(1, 2), 2, map_BCHW.shape[-2:])
