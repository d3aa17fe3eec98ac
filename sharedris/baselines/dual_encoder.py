"""Swin and BERT behind the interface of BEiT-3's encoder, with CGFormer's or DMMI's fusion after each stage (table VI).

As in LAVT, the fused features are the stage's map, and return to the pixels through a gate. The gate starts closed, as
in CGFormer's and DMMI's code; their code then draws all linear layers again, at 0.02, so that theirs starts slightly
open, as LAVT's does. In DMMI the words change from stage to stage as well.

Shapes: B batch, P pixels of a stage, C their channels, T text tokens, D their width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sharedris.baselines.bert import Bert
from sharedris.baselines.config import ComparedModelConfig
from sharedris.baselines.dmmi_interaction import DmmiInteraction
from sharedris.baselines.pwam import LanguageGate, Pwam
from sharedris.baselines.pyramid import side_of
from sharedris.baselines.swin import Swin, SwinStage
from sharedris.encoder import ImageTextEncoder, Streams, check_image_size


class StagePwam(nn.Module):
    """CGFormer's fusion: LAVT's PWAM, without a change of the words."""

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.pwam = Pwam(width, text_width, heads)

    def forward(self, pixels_BPC: Tensor, words_BTD: Tensor, visible_B11T: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the features shared by pixels and words, (B, P, C), and the words, (B, T, D)."""
        return self.pwam(pixels_BPC, words_BTD, visible_B11T), words_BTD


class StageInteraction(nn.Module):
    """DMMI's fusion."""

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.interaction = DmmiInteraction(width, text_width)

    def forward(self, pixels_BPC: Tensor, words_BTD: Tensor, visible_B11T: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the features shared by pixels and words, (B, P, C), and the words, (B, T, D)."""
        visible_B1T = None if visible_B11T is None else visible_B11T[:, 0]
        fused: tuple[Tensor, Tensor] = self.interaction(pixels_BPC, words_BTD, visible_B1T)
        return fused


def stage_fusion(config: ComparedModelConfig, width: int, text_width: int) -> nn.Module:
    """Return the fusion of the system that the config names, for a stage of that width."""
    if config.system.kind == "cgformer":
        return StagePwam(width, text_width, config.system.pwam_heads)
    return StageInteraction(width, text_width)


class DualEncoder(ImageTextEncoder):
    """Separate encoders of image and text; entry j of the output is stage j of Swin, from the finest map.

    No module reads the last stage's gate. It exists because the authors' code has it, and the published 252 M and 341 M
    include it; it is frozen.
    """

    def __init__(self, config: ComparedModelConfig) -> None:
        super().__init__()
        system = config.system
        self.image_size = config.encoder.image_size
        self.swin, self.bert = Swin(system.swin), Bert(system.bert)
        self.fusions = nn.ModuleList(stage_fusion(config, width, system.bert.width) for width in system.swin.widths)
        self.gates = closed_gates(system.swin.widths)

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> list[Streams]:
        """Return each stage's map as tokens without a class token, (B, P, C), and the words after it, (B, T, D).

        Raises:
            ValueError: when the image is not of the configured size.
        """
        check_image_size(image_BCHW, self.image_size)
        recompute = self.activation_checkpointing and self.training
        words_BTD = self.bert(token_ids_BT, padding_BT)
        visible_B11T = None if padding_BT is None else ~padding_BT[:, None, None, :]
        pixels_BPC, outputs = self.swin.embed(image_BCHW), []
        for index, (stage, fusion, gate) in enumerate(zip(self.swin.stages, self.fusions, self.gates, strict=True)):
            assert isinstance(stage, SwinStage)
            pixels_BPC = self.swin.run_blocks(index, pixels_BPC, recompute=recompute)
            common_BPC, words_BTD = fusion(pixels_BPC, words_BTD, visible_B11T)
            outputs.append(Streams(stage.norm(common_BPC), words_BTD))
            if stage.merge is not None:
                side = side_of(pixels_BPC)
                pixels_BPC = stage.merge(pixels_BPC + gate(common_BPC), side)
        return outputs


def closed_gates(widths: tuple[int, ...]) -> nn.ModuleList:
    """Return one gate per stage, all closed; no module reads the last one, so that it stays closed."""
    gates = [LanguageGate(width) for width in widths]
    for gate in gates:
        nn.init.zeros_(gate.open.weight)  # only the second layer: with both at zero neither would get a gradient
    gates[-1].requires_grad_(False)
    return nn.ModuleList(gates)


def as_map(tokens_BPC: Tensor) -> Tensor:
    """Return the tokens of a square map as one, (B, C, H, W)."""
    side = side_of(tokens_BPC)
    return torch.unflatten(tokens_BPC.transpose(1, 2), 2, (side, side))
