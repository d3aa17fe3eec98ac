"""Shared FPN: fuses the encoder's stages for the mask decoder (equations 6 and 7, table VII).

Shapes: B batch, V visual tokens, T text tokens, S = V + T, D encoder width, W head width, K stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sharedris.attention_row import ClassTokenAttention, attentions_of
from sharedris.config import ModelConfig
from sharedris.encoder import Streams
from sharedris.layers import initialize_linear
from sharedris.projection import Projection


class NoFpn(nn.Module):
    """The last layer through one projection shared by both modalities ("No FPN", table VII)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.projection = Projection(config.encoder.width, config.width, multiway=False)

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> Tensor:
        """Return the joined tokens, (B, S, W)."""
        tokens_BSW: Tensor = self.projection(outputs[-1])
        return tokens_BSW


class SharedFpn(nn.Module):
    """Each stage is projected and fused; all are concatenated on channels and projected once more.

    Args:
        config: the stages and the widths.
        make_fusion: returns a new fusion module; called once per stage.
    """

    def __init__(self, config: ModelConfig, make_fusion: Callable[[], nn.Module]) -> None:
        super().__init__()
        fpn = config.fpn
        self.stages = fpn.stages
        self.projections = nn.ModuleList(
            Projection(config.encoder.width, config.width, multiway=fpn.multiway_projection) for _ in fpn.stages
        )
        self.fusions = nn.ModuleList(make_fusion() for _ in fpn.stages)
        self.out = nn.Linear(len(fpn.stages) * config.width, config.width)
        initialize_linear(self.out)

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> Tensor:
        """Return the joined tokens, (B, S, W), from the encoder's outputs (entry j is layer j)."""
        fused = []
        for stage, projection, fusion in zip(self.stages, self.projections, self.fusions, strict=True):
            visual_tokens = outputs[stage].visual_BVD.shape[1]
            fused.append(fusion(projection(outputs[stage]), visible_B11S, visual_tokens))
        tokens_BSW: Tensor = self.out(torch.cat(fused, dim=-1))
        return tokens_BSW

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return those of all stages."""
        return attentions_of(self.fusions)
