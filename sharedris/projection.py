"""W_j: the projection of an encoder stage to the width of FPN and decoder (equation 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sharedris.encoder import Streams
from sharedris.layers import initialize_linear


class Projection(nn.Module):
    """W_j: a stage's tokens from encoder width to head width, by one linear layer or by one per modality."""

    def __init__(self, encoder_width: int, width: int, *, multiway: bool) -> None:
        super().__init__()
        self.visual = nn.Linear(encoder_width, width)
        self.text = nn.Linear(encoder_width, width) if multiway else self.visual
        initialize_linear(self)

    def forward(self, streams: Streams) -> Tensor:
        """Return the joined tokens, (B, S, W)."""
        return torch.cat([self.visual(streams.visual_BVD), self.text(streams.text_BTD)], dim=1)
