"""Maps of four sizes from one, for decoders that were designed for a Swin transformer.

CGFormer and DMMI read 1024 channels at 1/32 of the image, 512 at 1/16, 256 at 1/8 and 128 at 1/4; a plain transformer
has one map at 1/16. The paper does not describe its solution.

Shapes: B batch, C channels, G side of the patch grid, H = W side of a map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.baselines.config import PyramidWidths


class ResampledPyramid(nn.Module):
    """A 1x1 convolution per level, then resampling: the cheapest solution, for decoders behind a separate FPN.

    More parameters or more work do not fit the published 44 M / 857 G of CGFormer's decoder. The coarsest level is made
    as in a Swin transformer: each 2x2 neighbors become one position with four times the channels.

    Args:
        inputs: channels of the given map.
        widths: channels at 1/2, 1, 2 and 4 times its side.
    """

    def __init__(self, inputs: int, widths: PyramidWidths) -> None:
        super().__init__()
        if widths[0] % 4:
            raise ValueError(f"pyramid_widths: the first, {widths[0]}, is not a multiple of 4")
        self.merged = nn.Conv2d(inputs, widths[0] // 4, 1)
        self.same = nn.Conv2d(inputs, widths[1], 1) if widths[1] != inputs else nn.Identity()
        self.doubled = nn.Conv2d(inputs, widths[2], 1)
        self.quadrupled = nn.Conv2d(inputs, widths[3], 1)

    def forward(self, map_BCGG: Tensor) -> list[Tensor]:
        """Return the maps from the coarsest to the finest, each (B, C, H, W)."""
        return [
            functional.pixel_unshuffle(self.merged(map_BCGG), 2),
            self.same(map_BCGG),
            enlarge(self.doubled(map_BCGG), 2),
            enlarge(self.quadrupled(map_BCGG), 4),
        ]


def side_of(pixels_BPC: Tensor) -> int:
    """Return the side of the square map that was flattened to these tokens."""
    return math.isqrt(int(pixels_BPC.shape[1]))


def enlarge(map_BCHW: Tensor, factor: int) -> Tensor:
    """Return the map bilinearly at that many times its side."""
    return functional.interpolate(map_BCHW, scale_factor=factor, mode="bilinear", align_corners=False)


def join_finer(coarse_BCHW: Tensor, fine_BCHW: Tensor) -> Tensor:
    """Return the coarse map at the fine one's size, concatenated with the fine one, (B, C + C, H, W).

    Corners are aligned, as in the code of LAVT, on which both decoders build.
    """
    if coarse_BCHW.shape[-2:] != fine_BCHW.shape[-2:]:
        coarse_BCHW = functional.interpolate(coarse_BCHW, fine_BCHW.shape[-2:], mode="bilinear", align_corners=True)
    return torch.cat([coarse_BCHW, fine_BCHW], dim=1)
