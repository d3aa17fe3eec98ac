"""The FPN of CRIS (Wang et al., CVPR 2022, section 3.2), in the place of ours (table IV).

Three levels of features, the last multiplied by the sentence; each level is joined with the one above it; all three are
concatenated, with two coordinate channels. Written from the paper and the behavior of its authors' code; the golden
file compares both.

Shapes: B batch, S = V + T joined tokens, W width, G side of the patch grid, C channels of a level, H = W side of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.baselines.config import ComparedModelConfig
from sharedris.encoder import Streams
from sharedris.projection import Projection


def convolution_block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Return convolution without bias, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def with_coordinates(map_BCHW: Tensor) -> Tensor:
    """Return the map with two channels more, x and y from -1 to 1, (B, C + 2, H, W)."""
    batch, _, height, width = map_BCHW.shape
    x_W = torch.linspace(-1, 1, width, device=map_BCHW.device, dtype=map_BCHW.dtype)
    y_H = torch.linspace(-1, 1, height, device=map_BCHW.device, dtype=map_BCHW.dtype)
    x_B1HW = x_W[None, None, None, :].expand(batch, 1, height, width)
    y_B1HW = y_H[None, None, :, None].expand(batch, 1, height, width)
    return torch.cat([map_BCHW, x_B1HW, y_B1HW], dim=1)


def resample(map_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the map at another size: averaged down or bilinearly up; unchanged at the same size."""
    if map_BCHW.shape[-2:] == size:
        return map_BCHW
    if map_BCHW.shape[-1] > size[-1]:
        return functional.adaptive_avg_pool2d(map_BCHW, size)
    return functional.interpolate(map_BCHW, size=size, mode="bilinear", align_corners=False)


class CrisNeck(nn.Module):
    """The neck, at the size of the middle level.

    Args:
        inputs: channels of the three maps, earliest stage first.
        state_width: channels of the sentence.
        widths: channels of the three levels; the middle one is also the width of the result.
    """

    def __init__(self, inputs: tuple[int, int, int], state_width: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        low, middle, high = widths
        self.state = nn.Linear(state_width, high, bias=False)
        # A 1x1 map: the pipeline gathers the statistics of two-dimensional norms over all workers.
        self.state_norm = nn.BatchNorm2d(high)
        self.high_in = convolution_block(inputs[2], high, 1)
        self.high_norm = nn.BatchNorm2d(high)
        self.middle_in = convolution_block(inputs[1], middle, 3)
        self.middle_join = convolution_block(high + middle, middle, 1)
        self.low_in = convolution_block(inputs[0], low, 3)
        self.low_join = convolution_block(low + middle, middle, 1)
        self.high_out = convolution_block(high, middle, 3)
        self.middle_out = convolution_block(middle, middle, 3)
        self.low_out = convolution_block(middle, middle, 3)
        self.join = convolution_block(3 * middle, middle, 1)
        self.place = convolution_block(middle + 2, middle, 3)
        self.out = convolution_block(middle, middle, 3)

    def forward(self, low_BCHW: Tensor, middle_BCHW: Tensor, high_BCHW: Tensor, state_BC: Tensor) -> Tensor:
        """Return the joined map, (B, C, H, W), at the size of the middle one."""
        size = (middle_BCHW.shape[-2], middle_BCHW.shape[-1])
        sentence_BC11 = functional.relu(self.state_norm(self.state(state_BC)[:, :, None, None]))
        high = functional.relu(self.high_norm(self.high_in(high_BCHW) * sentence_BC11))
        middle = self.middle_join(torch.cat([self.middle_in(middle_BCHW), resample(high, size)], dim=1))
        low = self.low_join(torch.cat([resample(self.low_in(low_BCHW), size), middle], dim=1))
        levels = [self.low_out(low), self.middle_out(middle), resample(self.high_out(high), size)]
        map_BCHW: Tensor = self.out(self.place(with_coordinates(self.join(torch.cat(levels, dim=1)))))
        return map_BCHW


class CrisFpn(nn.Module):
    """The neck between our encoder and our decoder: three stages, all at the patch grid.

    The paper states only that it was adapted. Assumed, in line with the cost cell: one multiway W_j per stage, as ours;
    the text class token is the sentence. The neck makes only a map; class token and text are the mean of the three
    stages.
    """

    def __init__(self, config: ComparedModelConfig) -> None:
        super().__init__()
        fpn, width = config.fpn, config.width
        self.stages = fpn.stages
        self.grid = config.encoder.grid
        self.projections = nn.ModuleList(
            Projection(config.encoder.width, width, multiway=fpn.multiway_projection) for _ in fpn.stages
        )
        self.neck = CrisNeck((width, width, width), width, fpn.cris.level_widths)

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> Tensor:
        """Return the joined tokens, (B, S, W), from the encoder's outputs (entry j is layer j)."""
        visual_tokens = outputs[-1].visual_BVD.shape[1]
        stages = [projection(outputs[stage]) for stage, projection in zip(self.stages, self.projections, strict=True)]
        tokens_BSW = torch.stack(stages).mean(dim=0)
        maps = [self._map(stage_BSW[:, 1:visual_tokens]) for stage_BSW in stages]
        map_BWGG = self.neck(*maps, tokens_BSW[:, visual_tokens])
        patches_BPW = map_BWGG.flatten(2).transpose(1, 2)
        return torch.cat([tokens_BSW[:, :1], patches_BPW, tokens_BSW[:, visual_tokens:]], dim=1)

    def _map(self, patches_BPW: Tensor) -> Tensor:
        return torch.unflatten(patches_BPW, 1, (self.grid, self.grid)).permute(0, 3, 1, 2)
