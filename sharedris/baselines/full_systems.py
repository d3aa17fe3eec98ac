"""The full systems CGFormer and DMMI, on Swin + BERT as by their authors and on BEiT-3 (table VI).

On Swin and BERT the four stages are the four maps. BEiT-3 has a single resolution: four stages are resized to Swin's
four sizes by deconvolutions and pooling. The paper does not describe this; this version fits the published
269 M / 955 G of CGFormer.

Shapes: B batch, C channels, T text tokens, D their width, G side of the patch grid, H = W side of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor, nn

from sharedris.baselines.config import ComparedModelConfig, PyramidWidths
from sharedris.baselines.decoder_adapters import CgformerMask, DmmiMask
from sharedris.baselines.dual_encoder import StageInteraction, as_map, closed_gates
from sharedris.encoder import Streams, visible_text
from sharedris.loss import AuxiliaryLoss


class MapsAndWords(NamedTuple):
    """The input of a decoder of four maps."""

    maps: list[Tensor]  # from the coarsest to the finest, each (B, C, H, W)
    words_BTD: Tensor


class StageMaps(nn.Module):
    """The dual encoder's stages, unchanged."""

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> MapsAndWords:
        """Return the maps and the words of the last stage."""
        return MapsAndWords([as_map(stage.visual_BVD) for stage in reversed(outputs)], outputs[-1].text_BTD)


class FourSizes(nn.Module):
    """Four maps at the patch grid, resized to 4, 2, 1 and 1/2 times its side."""

    def __init__(self, inputs: int, widths: PyramidWidths) -> None:
        super().__init__()
        half = inputs // 2
        self.quadrupled = nn.Sequential(
            nn.ConvTranspose2d(inputs, half, 2, stride=2), nn.GELU(), nn.ConvTranspose2d(half, widths[3], 2, stride=2)
        )
        self.doubled = nn.ConvTranspose2d(inputs, widths[2], 2, stride=2)
        self.same = nn.Conv2d(inputs, widths[1], 1)
        self.halved = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(inputs, widths[0], 1))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the maps from the coarsest to the finest; the input is four (B, C, G, G), the later finest first."""
        levels = (self.quadrupled, self.doubled, self.same, self.halved)
        return [level(map_BCGG) for level, map_BCGG in zip(levels, maps, strict=True)][::-1]


class StagePyramid(nn.Module):
    """Four stages of BEiT-3 at four sizes, the earliest at the finest size; the words are those of the last layer."""

    def __init__(self, config: ComparedModelConfig, widths: PyramidWidths) -> None:
        super().__init__()
        self.stages = config.system.stages
        self.resize = FourSizes(config.encoder.width, widths)

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> MapsAndWords:
        """Return the maps and the words."""
        maps = [as_map(outputs[stage].visual_BVD[:, 1:]) for stage in self.stages]
        return MapsAndWords(self.resize(maps), outputs[-1].text_BTD)


class InteractionPyramid(nn.Module):
    """The same with DMMI's interaction at each stage before it is resized; the words go through all four.

    Assumed, in line with the cost cell: all at the framework's 512 channels. A stage's gate passes the fused features
    to the next stage; no module reads the last gate: it is counted in the published 356 M, and frozen.
    """

    def __init__(self, config: ComparedModelConfig, widths: PyramidWidths) -> None:
        super().__init__()
        self.stages = config.system.stages
        inputs, width = config.encoder.width, config.width
        self.projections = nn.ModuleList(nn.Linear(inputs, width) for _ in self.stages)
        self.text = nn.Linear(inputs, width)
        self.fusions = nn.ModuleList(StageInteraction(width, width) for _ in self.stages)
        self.gates = closed_gates((width,) * len(self.stages))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.stages)
        self.resize = FourSizes(width, widths)

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> MapsAndWords:
        """Return the maps and the words."""
        visible_B11T = visible_text(visible_B11S, outputs[-1].visual_BVD.shape[1])
        words_BTW, maps = self.text(outputs[-1].text_BTD), []
        carried_BPW: Tensor | float = 0.0
        parts = zip(self.stages, self.projections, self.fusions, self.gates, self.norms, strict=True)
        for stage, projection, fusion, gate, norm in parts:
            pixels_BPW = projection(outputs[stage].visual_BVD[:, 1:]) + carried_BPW
            common_BPW, words_BTW = fusion(pixels_BPW, words_BTW, visible_B11T)
            carried_BPW = gate(common_BPW)
            maps.append(as_map(norm(common_BPW)))
        return MapsAndWords(self.resize(maps), words_BTW)


class FullDecoder(AuxiliaryLoss):
    """A decoder over maps and words."""

    def __init__(self, mask: CgformerMask | DmmiMask) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, read: MapsAndWords, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return logits, (B, H, W)."""
        visible_B11T = visible_text(visible_B11S, visual_tokens)
        logits_BHW: Tensor = self.mask(read.maps, read.words_BTD, visible_B11T)
        return logits_BHW

    def pop_auxiliary_loss(self, mask_BHW: Tensor) -> Tensor | None:
        """Return the decoder's loss."""
        return self.mask.pop_auxiliary_loss(mask_BHW)


def full_fpn(config: ComparedModelConfig) -> nn.Module:
    """Return the module that makes four maps and words from the encoder's outputs."""
    system, decoder = config.system, config.decoder
    if system.encoder == "swin_bert":
        return StageMaps()
    if system.kind == "cgformer":
        return StagePyramid(config, decoder.cgformer.pyramid_widths)
    return (InteractionPyramid if system.interaction else StagePyramid)(config, decoder.dmmi.pyramid_widths)


def full_decoder(config: ComparedModelConfig) -> FullDecoder:
    """Return the decoder; on Swin its maps have the widths of Swin's stages, and the option is ignored."""
    options, text_width, grid = config.decoder, config.encoder.width, config.encoder.grid
    if config.system.kind == "dmmi" and config.system.interaction:
        text_width = config.width
    cgformer, dmmi = options.cgformer, options.dmmi
    if config.system.encoder == "swin_bert":
        text_width, grid = config.system.bert.width, config.finest_grid // 4
        widths = config.system.swin.widths[::-1]
        cgformer, dmmi = replace(cgformer, pyramid_widths=widths), replace(dmmi, pyramid_widths=widths)
    if config.system.kind == "cgformer":
        return FullDecoder(CgformerMask(cgformer, text_width, grid))
    return FullDecoder(DmmiMask(dmmi, text_width))
