"""Shared FPN: what the encoder's stages become before the mask decoder (equations 6 and 7, table VII).

Shapes: B batch, V visual tokens, T text tokens, S = V + T, D encoder width, W head width, K stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sharedris.baselines.config import ComparedFpnConfig, ComparedModelConfig
from sharedris.baselines.cris_fpn import CrisFpn
from sharedris.baselines.pwam import PwamFusion
from sharedris.encoder import Streams
from sharedris.fusion import build_fusion
from sharedris.layers import initialise_linear
from sharedris.linear import Linear
from sharedris.projection import Projection


class NoFpn(nn.Module):
    """The last layer through one projection shared by both modalities ("No FPN", table VII)."""

    def __init__(self, config: ComparedModelConfig) -> None:
        super().__init__()
        self.projection = Projection(config.encoder.width, config.width, multiway=False)

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> Tensor:
        """Return the joined tokens, (B, S, W)."""
        return self.projection(outputs[-1])


class SharedFpn(nn.Module):
    """Each stage projected and fused, all of them joined on channels and projected once more."""

    def __init__(self, config: ComparedModelConfig) -> None:
        super().__init__()
        fpn = config.fpn
        self.stages = fpn.stages
        self.projections = nn.ModuleList(
            Projection(config.encoder.width, config.width, multiway=fpn.multiway_projection) for _ in fpn.stages
        )
        self.fusions = nn.ModuleList(build_stage_fusion(config.width, fpn) for _ in fpn.stages)
        self.out = Linear(len(fpn.stages) * config.width, config.width)
        initialise_linear(self.out)

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> Tensor:
        """Return the joined tokens, (B, S, W), from the encoder's outputs (entry j is layer j)."""
        fused = []
        for stage, projection, fusion in zip(self.stages, self.projections, self.fusions, strict=True):
            visual_tokens = outputs[stage].visual_BVD.shape[1]
            fused.append(fusion(projection(outputs[stage]), visible_B11S, visual_tokens))
        return self.out(torch.cat(fused, dim=-1))


def build_stage_fusion(width: int, config: ComparedFpnConfig) -> nn.Module:
    """Return what a stage of the Shared FPN is fused by."""
    return PwamFusion(width, config) if config.kind == "pwam" else build_fusion(config.kind, width, config.fusion)


FPNS: dict[str, Callable[[ComparedModelConfig], nn.Module]] = {"none": NoFpn, "cris": CrisFpn}
"""FPNs that are not a fusion at each stage."""


def build_fpn(config: ComparedModelConfig) -> nn.Module:
    """Return the FPN that the config names."""
    return FPNS.get(config.fpn.kind, SharedFpn)(config)
