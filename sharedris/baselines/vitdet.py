"""ViTDet's framework on BEiT-3 with a two-way head (Li et al., ECCV 2022; table X).

BEiT-3 reports instance segmentation by ViTDet: a simple feature pyramid from the last layer's map, then boxes, and a
mask for each box. Here a sentence names one object, so that nothing is detected: the mask branch runs once, over the
full image instead of a box. Assumed, as the paper states only "two-way classification instead of COCO's 80 classes": no
proposals, no boxes and none of their losses; the pyramid's levels are resized to 1/8 of the image and added; four
convolutions and one deconvolution as in Mask R-CNN, to two classes at 1/4. The sentence acts only through the encoder.

Shapes: B batch, D encoder width, C pyramid width, G side of the patch grid, H = W side of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.baselines.config import ComparedModelConfig
from sharedris.encoder import Streams


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def twice(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Return a deconvolution that doubles the side."""
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)


def level(resize: Sequence[nn.Module], inputs: int, width: int) -> nn.Sequential:
    """Return one level of the pyramid: resampling, then 1x1 and 3x3 convolutions with norms and without bias."""
    return nn.Sequential(
        *resize,
        nn.Conv2d(inputs, width, 1, bias=False),
        ChannelNorm(width),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        ChannelNorm(width),
    )


class SimplePyramid(nn.Module):
    """ViTDet's maps at 1/2, 1, 2 and 4 times the patch grid, all from the last layer."""

    def __init__(self, config: ComparedModelConfig) -> None:
        super().__init__()
        inputs, width = config.encoder.width, config.system.vitdet.width
        self.grid = config.encoder.grid
        half, quarter = inputs // 2, inputs // 4
        finest = [twice(inputs, half), ChannelNorm(half), nn.GELU(), twice(half, quarter)]
        self.levels = nn.ModuleList(
            [
                level([nn.MaxPool2d(2)], inputs, width),
                level([], inputs, width),
                level([twice(inputs, half)], half, width),
                level(finest, quarter, width),
            ]
        )

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> list[Tensor]:
        """Return the maps from the coarsest to the finest, each (B, C, H, W)."""
        patches_BPD = outputs[-1].visual_BVD[:, 1:]
        map_BDGG = torch.unflatten(patches_BPD, 1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        return [made(map_BDGG) for made in self.levels]


class TwoWayMask(nn.Module):
    """Mask R-CNN's mask branch over the full image, for background and foreground."""

    def __init__(self, config: ComparedModelConfig) -> None:
        super().__init__()
        options = config.system.vitdet
        width = options.width
        self.side = 2 * config.encoder.grid
        self.convolutions = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), ChannelNorm(width), nn.ReLU())
                for _ in range(options.convolutions)
            )
        )
        self.enlarge = twice(width, width)
        self.classes = nn.Conv2d(width, 2, 1)
        nn.init.normal_(self.classes.weight, std=0.001)  # as Mask R-CNN initializes its predictors
        nn.init.zeros_(self.classes.bias)  # type: ignore[arg-type] # there is one

    def forward(self, maps: list[Tensor], visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return logits, (B, H, W), at 4 times the patch grid: foreground minus background."""
        size = (self.side, self.side)
        resized = [
            functional.adaptive_max_pool2d(map_BCHW, size)
            if map_BCHW.shape[-1] > self.side
            else functional.interpolate(map_BCHW, size=size, mode="bilinear", align_corners=False)
            for map_BCHW in maps
        ]
        map_BCHW = self.convolutions(torch.stack(resized).sum(dim=0))
        logits_B2HW: Tensor = self.classes(functional.relu(self.enlarge(map_BCHW)))
        return logits_B2HW[:, 1] - logits_B2HW[:, 0]
