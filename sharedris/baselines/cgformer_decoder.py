"""CGFormer's decoder (Tang et al., CVPR 2023, sections 3.2 and 3.3): tokens that group the pixels (table V).

Two tokens compete for every pixel of finer and finer maps. In training the assignment is a hard sample with the
gradient of the soft one; in evaluation it is the expectation of the samples. The last token reads the sentence again at
each level and finally becomes the filter that makes the mask. Written from the paper and the behavior of its authors'
code; golden files compare both.

Shapes: B batch, N group tokens, C channels, P pixels, T text tokens, D width of the text, H = W side of a map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.baselines.config import CgformerConfig
from sharedris.baselines.pyramid import join_finer
from sharedris.decoder import UpsampleBlock
from sharedris.draws import Dropout, RandomModule

PIXEL_COUNT_OFFSET = 1.0
"""Added to the number of pixels of a group, so that an empty group has a mean."""


class Grouping(NamedTuple):
    """The decoder's output."""

    logits_BHW: Tensor
    maps_BNHW: list[Tensor]  # per level: the weight of a token for a pixel; 0 or 1 where sampled


def convolution_block(inputs: int, outputs: int) -> nn.Sequential:
    """Return convolution 3x3 with bias, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def mlp(width: int, dropout: float) -> nn.Sequential:
    """Return the tokens' MLP, twice as wide inside."""
    return nn.Sequential(
        nn.Linear(width, 2 * width), nn.GELU(), Dropout(dropout), nn.Linear(2 * width, width), Dropout(dropout)
    )


class SentenceReader(nn.Module):
    """The last token attends to the words with one head; then all tokens pass an MLP without a residual."""

    def __init__(self, width: int, text_width: int, dropout: float) -> None:
        super().__init__()
        self.token_norm, self.text_norm = nn.LayerNorm(width), nn.LayerNorm(text_width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(text_width, width, bias=False)
        self.value = nn.Linear(text_width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = mlp(width, 0.0)

    def forward(self, tokens_BNC: Tensor, text_BTD: Tensor, visible_B1T: Tensor | None) -> Tensor:
        """Return the tokens, (B, N, C)."""
        last_B1C, text_BTD = tokens_BNC[:, -1:], self.text_norm(text_BTD)
        query_B1C = self.query(self.token_norm(last_B1C)) * last_B1C.shape[-1] ** -0.5
        scores_B1T = query_B1C @ self.key(text_BTD).transpose(1, 2)
        if visible_B1T is not None:
            scores_B1T = scores_B1T.masked_fill(~visible_B1T, float("-inf"))
        read_B1C = self.dropout(scores_B1T.softmax(dim=-1)) @ self.value(text_BTD)
        last_B1C = last_B1C + self.dropout(self.out(read_B1C))
        output_BNC: Tensor = self.mlp(self.mlp_norm(torch.cat([tokens_BNC[:, :-1], last_B1C], dim=1)))
        return output_BNC


class GroupingAttention(RandomModule):
    """Each token becomes the mean of the pixels nearest to it by angle."""

    def __init__(self, width: int, dropout: float, *, evaluation_noise: bool) -> None:
        super().__init__()
        self.evaluation_noise = evaluation_noise
        self.pixel_norm, self.token_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = mlp(width, dropout)
        # The clamp below is active at the start and gives no gradient: the public code's temperature never changes.
        self.temperature = nn.Parameter(torch.ones(1))

    def forward(self, tokens_BNC: Tensor, pixels_BPC: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens, (B, N, C), and the weight of each pixel for each token, (B, N, P)."""
        pixels_BPC = self.pixel_norm(pixels_BPC)
        query_BNC = functional.normalize(self.query(self.token_norm(tokens_BNC)), dim=-1)
        key_BPC = functional.normalize(self.key(pixels_BPC), dim=-1)
        groups_BNP = self._assign(query_BNC @ key_BPC.transpose(1, 2))
        shares_BNP = groups_BNP / (groups_BNP.sum(dim=-1, keepdim=True) + PIXEL_COUNT_OFFSET)
        means_BNC = shares_BNP @ self.value(pixels_BPC)
        updated_BNC = tokens_BNC + self.dropout(self.out(means_BNC))
        return self.mlp(self.mlp_norm(updated_BNC)), groups_BNP

    def _assign(self, likeness_BNP: Tensor) -> Tensor:
        """Return the weight of each token for each pixel, (B, N, P).

        Sampled in training: 1 for one token and 0 for the others, with the gradient of the softmax over tokens.
        Otherwise the expectation of the samples, which is the softmax at any temperature: tokens are means over many
        pixels, so that the mask is that of the samples without their noise. An argmax would differ from training.
        """
        if not (self.training or self.evaluation_noise):
            return likeness_BNP.softmax(dim=1)
        uniform_BNP = self.uniform(likeness_BNP.shape, likeness_BNP.device).clamp_(1e-9, 1 - 1e-7)
        likeness_BNP = likeness_BNP - (-uniform_BNP.log()).log()
        soft_BNP = (likeness_BNP / self.temperature.clamp(max=0).exp()).softmax(dim=1)
        hard_BNP = functional.one_hot(soft_BNP.argmax(dim=1), soft_BNP.shape[1]).transpose(1, 2)
        return hard_BNP.to(soft_BNP.dtype) + soft_BNP - soft_BNP.detach()


class CgformerDecoder(nn.Module):
    """The decoder over four maps and the words.

    Args:
        options: widths and rates.
        text_width: D.
        grid: side of the second-coarsest map; the position tables have 1, 2 and 4 times this side.
    """

    def __init__(self, options: CgformerConfig, text_width: int, grid: int) -> None:
        super().__init__()
        width, maps = options.token_width, options.pyramid_widths
        self.tokens = nn.Parameter(torch.empty(options.group_tokens, width))
        nn.init.trunc_normal_(self.tokens, std=0.02, a=-2.0, b=2.0)
        self.joins = nn.ModuleList(
            nn.Sequential(convolution_block(above + own, width), convolution_block(width, width))
            for above, own in zip((maps[0], width, width), maps[1:], strict=True)
        )
        sides = (grid, 2 * grid, 4 * grid)
        self.positions = nn.ParameterList(nn.Parameter(torch.randn(side**2, width) * width**-0.5) for side in sides)
        self.readers = nn.ModuleList(SentenceReader(width, text_width, options.dropout) for _ in range(2))
        # Two for three levels: the two finer levels share one, as in the public code.
        self.groupings = nn.ModuleList(
            GroupingAttention(width, options.dropout, evaluation_noise=options.evaluation_noise) for _ in range(2)
        )
        self.blocks = nn.Sequential(*(UpsampleBlock(width) for _ in range(options.upsample_blocks)))
        self.out = nn.Conv2d(width, width, 1)
        self.filter = nn.Linear(width, width + 1)

    def forward(self, maps: list[Tensor], text_BTD: Tensor, visible_B1T: Tensor | None) -> Grouping:
        """Return the mask's logits, at 2 ** `upsample_blocks` times the finest map's side, and the groupings.

        Args:
            maps: from the coarsest to the finest.
            text_BTD: the words.
            visible_B1T: False at padding; None when nothing is padded.
        """
        map_BCHW, groups = maps[0], []
        tokens_BNC = self.tokens.expand(map_BCHW.shape[0], -1, -1)
        for level, finer_BCHW in enumerate(maps[1:]):
            map_BCHW = self.joins[level](join_finer(map_BCHW, finer_BCHW))
            if level > 0:
                tokens_BNC = self.readers[level - 1](tokens_BNC, text_BTD, visible_B1T)
            pixels_BPC = map_BCHW.flatten(2).transpose(1, 2) + self.positions[level]
            tokens_BNC, groups_BNP = self.groupings[min(level, 1)](tokens_BNC, pixels_BPC)
            groups.append(torch.unflatten(groups_BNP, 2, map_BCHW.shape[-2:]))
        filter_BC = self.filter(tokens_BNC[:, -1])
        map_BCHW = self.out(self.blocks(map_BCHW))
        logits_BHW = torch.einsum("bchw,bc->bhw", map_BCHW, filter_BC[:, :-1].to(map_BCHW.dtype))
        return Grouping(logits_BHW + filter_BC[:, -1, None, None], groups)


def group_loss(maps_BNHW: list[Tensor], mask_BHW: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Return the weighted Dice losses of the pixels of the last token, that of the mask, as in the public code.

    The sigmoid over values that are 0 or 1 is the public code's too.
    """
    losses = []
    for map_BNHW, weight in zip(maps_BNHW, weights, strict=True):
        target_BHW = functional.interpolate(mask_BHW[:, None].float(), size=map_BNHW.shape[-2:], mode="nearest")[:, 0]
        probability_BP, target_BP = map_BNHW[:, -1].float().sigmoid().flatten(1), target_BHW.flatten(1)
        overlap_B = 2 * (probability_BP * target_BP).sum(dim=1) + 1
        losses.append(weight * (1 - overlap_B / (probability_BP.sum(dim=1) + target_BP.sum(dim=1) + 1)).mean())
    return torch.stack(losses).sum()
