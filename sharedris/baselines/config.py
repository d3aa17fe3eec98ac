"""Options of the compared modules: sizes, and what of their design more than one reading was tried for.

Widths are those of the paper's scale. `docs/compared.md` says which published cost each default meets, and what else
was assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

PyramidWidths = tuple[int, int, int, int]
SystemKind = Literal["shared_ris", "vitdet", "cgformer", "dmmi"]
EncoderPair = Literal["beit3", "swin_bert"]
DUAL_SYSTEMS = ("cgformer", "dmmi")
"""Systems that take separate encoders of image and text."""


def _require(condition: bool, field_name: str, message: str) -> None:
    if not condition:
        raise ValueError(f"{field_name}: {message}")


@dataclass(frozen=True, kw_only=True)
class CrisConfig:
    """The three-level neck of CRIS (table IV)."""

    level_widths: tuple[int, int, int] = (256, 512, 1024)  # from the earliest stage to the last

    def __post_init__(self) -> None:
        _require(len(self.level_widths) == 3, "fpn.cris.level_widths", "needs three")


@dataclass(frozen=True, kw_only=True)
class PwamConfig:
    """LAVT's pixel-word attention (table IV)."""

    heads: int = 1
    gate: bool = False  # LAVT gates what flows back into its encoder, and its decoder reads what is not gated
    keep_self_attention: bool = True  # our MSA beside it; alone fits the published 14 M / 13 G


@dataclass(frozen=True, kw_only=True)
class CgformerConfig:
    """CGFormer's grouping decoder (tables V and VI)."""

    pyramid_widths: PyramidWidths = (1024, 512, 256, 128)  # at 1/2, 1, 2 and 4 times the patch grid
    group_tokens: int = 2  # the last is the one that becomes the mask
    token_width: int = 512
    dropout: float = 0.1
    upsample_blocks: int = 2  # from 4 times the patch grid to the input's size: 480 for the paper's
    evaluation_noise: bool = False  # the public code draws in evaluation too; here it takes what draws give on average
    group_loss: tuple[float, float, float] = (0.001, 0.01, 0.1)  # weights of the groupings' Dice; zeros leave it out

    def __post_init__(self) -> None:
        _require(self.group_tokens >= 2, "decoder.cgformer.group_tokens", "must be 2 or more")
        _require(0.0 <= self.dropout < 1.0, "decoder.cgformer.dropout", "must be in [0, 1)")
        _require(len(self.group_loss) == 3, "decoder.cgformer.group_loss", "needs three weights, one a level")


@dataclass(frozen=True, kw_only=True)
class DmmiConfig:
    """DMMI's dual decoder (tables V and VI)."""

    pyramid_widths: PyramidWidths = (1024, 512, 256, 128)
    width: int = 768  # of the text features of BERT and BEiT-3
    heads: int = 8
    mlp_width: int = 2048
    dropout: float = 0.1
    masked_words: float = 0.15  # share hidden from the image-to-text branch; the authors hide one noun of each sentence
    reconstruction_loss: float = 0.01
    contrastive_loss: float = 0.01
    temperature: float = 0.05

    def __post_init__(self) -> None:
        _require(self.width % self.heads == 0, "decoder.dmmi.heads", f"{self.heads} does not divide {self.width}")
        _require(0.0 <= self.dropout < 1.0, "decoder.dmmi.dropout", "must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class VitdetConfig:
    """The instance-segmentation framework that BEiT-3 reports, without its boxes (table X)."""

    width: int = 256  # of the pyramid and of the mask branch, as in ViTDet
    convolutions: int = 4  # of the mask branch, as in Mask R-CNN

    def __post_init__(self) -> None:
        _require(self.convolutions >= 1, "system.vitdet.convolutions", "must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    """The Swin transformer of CGFormer and DMMI (table VI): base, windows of 12."""

    width: int = 128  # of the first stage; each further one has twice as much
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 12
    patch_size: int = 4
    drop_path: float = 0.3

    def __post_init__(self) -> None:
        _require(len(self.depths) == len(self.heads) == 4, "system.swin.depths", "needs four stages, as heads")
        for stage, heads in enumerate(self.heads):
            width = self.width * 2**stage
            _require(width % heads == 0, "system.swin.heads", f"{heads} does not divide {width} of stage {stage + 1}")
        _require(self.window >= 2, "system.swin.window", "must be 2 or more")
        _require(0.0 <= self.drop_path < 1.0, "system.swin.drop_path", "must be in [0, 1)")

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four stages, from the finest to the coarsest."""
        return (self.width, self.width * 2, self.width * 4, self.width * 8)


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """BERT base, uncased, without its pooler (table VI)."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    vocabulary_size: int = 30522
    positions: int = 512
    dropout: float = 0.1
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        _require(self.width % self.heads == 0, "system.bert.heads", f"{self.heads} does not divide {self.width}")
        _require(0.0 <= self.dropout < 1.0, "system.bert.dropout", "must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """Which system stands around the encoder: ours, or another paper's as a whole (tables VI and X).

    `fpn` and `decoder` of the model are read by ours alone; `decoder.cgformer` and `decoder.dmmi` by those two as well.
    """

    kind: SystemKind = "shared_ris"
    encoder: EncoderPair = "beit3"
    vitdet: VitdetConfig = field(default_factory=VitdetConfig)
    stages: tuple[int, ...] = (3, 6, 9, 12)  # of BEiT-3, from the finest map to the coarsest
    pwam_heads: int = 8  # of CGFormer on Swin + BERT; on BEiT-3 it has no PWAM
    interaction: bool = True  # DMMI's own text-image interaction at BEiT-3's stages too; its cost cell asks for it
    swin: SwinConfig = field(default_factory=SwinConfig)
    bert: BertConfig = field(default_factory=BertConfig)

    def __post_init__(self) -> None:
        _require(self.kind in get_args(SystemKind), "system.kind", f"unknown kind {self.kind!r}")
        _require(self.encoder in get_args(EncoderPair), "system.encoder", f"unknown encoder {self.encoder!r}")
        _require(len(self.stages) == 4, "system.stages", "needs four")
        dual = self.encoder != "beit3"
        _require(not dual or self.kind in DUAL_SYSTEMS, "system.encoder", f"{self.kind} takes beit3 alone")
