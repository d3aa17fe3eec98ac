"""Options of the compared modules, and the configs of a model that may contain them (tables IV, V, VI and X).

Widths are those of the paper's scale. `docs/compared.md` lists which published cost each default reproduces, and what
else was assumed. `ComparedModelConfig` is the config of every run: ours is its default.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sharedris.config import DecoderConfig, FpnConfig, ModelConfig
from sharedris.config_values import require_positive
from sharedris.errors import require_field
from sharedris.registry import ENCODERS, FUSIONS, SYSTEMS, require_known

PyramidWidths = tuple[int, int, int, int]
DEFAULT_ENCODER = "beit3"
DUAL_ENCODER = "swin_bert"
"""The encoder of separate streams: maps of four sizes, weights in a folder with their own vocabulary."""

DUAL_SYSTEMS = ("cgformer", "dmmi")
"""Systems that take separate encoders of image and text."""


@dataclass(frozen=True, kw_only=True)
class CrisConfig:
    """The three-level neck of CRIS (table IV)."""

    level_widths: tuple[int, int, int] = (256, 512, 1024)  # from the earliest stage to the last

    def __post_init__(self) -> None:
        require_field(len(self.level_widths) == 3, "fpn.cris.level_widths", "needs three")


@dataclass(frozen=True, kw_only=True)
class PwamConfig:
    """LAVT's pixel-word attention (table IV)."""

    heads: int = 1  # of attention
    gate: bool = False  # LAVT gates the features that return to its encoder; its decoder reads ungated ones
    keep_self_attention: bool = True  # our MSA in parallel; only this fits the published 14 M / 13 G


@dataclass(frozen=True, kw_only=True)
class CgformerConfig:
    """CGFormer's grouping decoder (tables V and VI)."""

    pyramid_widths: PyramidWidths = (1024, 512, 256, 128)  # at 1/2, 1, 2 and 4 times the patch grid
    group_tokens: int = 2  # the last becomes the mask
    token_width: int = 512  # of the grouping tokens
    dropout: float = 0.1  # of the decoder
    upsample_blocks: int = 2  # from 4 times the patch grid to the input's size: 480 for the paper's
    evaluation_noise: bool = False  # the public code samples in evaluation too; here evaluation takes the expectation
    group_loss: tuple[float, float, float] = (0.001, 0.01, 0.1)  # weights of the groupings' Dice; zeros leave it out

    def __post_init__(self) -> None:
        require_field(self.group_tokens >= 2, "decoder.cgformer.group_tokens", "must be 2 or more")
        require_field(0.0 <= self.dropout < 1.0, "decoder.cgformer.dropout", "must be in [0, 1)")
        require_field(len(self.group_loss) == 3, "decoder.cgformer.group_loss", "needs three weights, one per level")


@dataclass(frozen=True, kw_only=True)
class DmmiConfig:
    """DMMI's dual decoder (tables V and VI)."""

    pyramid_widths: PyramidWidths = (1024, 512, 256, 128)  # at 1/2, 1, 2 and 4 times the patch grid
    width: int = 768  # of the text features of BERT and BEiT-3
    heads: int = 8  # of attention
    mlp_width: int = 2048  # hidden width of each feed-forward network
    dropout: float = 0.1  # of the decoder
    masked_words: float = 0.15  # ratio hidden from the image-to-text branch; the authors hide one noun per sentence
    reconstruction_loss: float = 0.01  # weight of the loss of the hidden words
    contrastive_loss: float = 0.01  # weight of the contrastive loss
    temperature: float = 0.05  # of the contrastive loss

    def __post_init__(self) -> None:
        require_positive("decoder.dmmi", width=self.width, heads=self.heads, temperature=self.temperature)
        require_field(0.0 <= self.masked_words <= 1.0, "decoder.dmmi.masked_words", "must be in [0, 1]")
        require_field(self.width % self.heads == 0, "decoder.dmmi.heads", f"{self.heads} does not divide {self.width}")
        require_field(0.0 <= self.dropout < 1.0, "decoder.dmmi.dropout", "must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class VitdetConfig:
    """The instance-segmentation framework reported by BEiT-3, without boxes (table X)."""

    width: int = 256  # of the pyramid and of the mask branch, as in ViTDet
    convolutions: int = 4  # of the mask branch, as in Mask R-CNN

    def __post_init__(self) -> None:
        require_field(self.convolutions >= 1, "system.vitdet.convolutions", "must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    """The Swin transformer of CGFormer and DMMI (table VI): base, windows of 12."""

    width: int = 128  # of the first stage; it doubles with each stage
    depths: tuple[int, ...] = (2, 2, 18, 2)  # layers of each stage
    heads: tuple[int, ...] = (4, 8, 16, 32)  # of attention, for each stage
    window: int = 12  # patches of a side of a window
    patch_size: int = 4  # pixels of a side
    drop_path: float = 0.3  # probability at the last layer; it grows linearly from 0 at the first

    def __post_init__(self) -> None:
        require_field(min(*self.depths, *self.heads) > 0, "system.swin.depths", "and heads must be above 0")
        require_field(len(self.depths) == len(self.heads) == 4, "system.swin.depths", "needs four stages, as do heads")
        for stage, heads in enumerate(self.heads):
            width = self.width * 2**stage
            require_field(
                width % heads == 0, "system.swin.heads", f"{heads} does not divide {width} of stage {stage + 1}"
            )
        require_field(self.window >= 2, "system.swin.window", "must be 2 or more")
        require_positive("system.swin", width=self.width, patch_size=self.patch_size)
        require_field(0.0 <= self.drop_path < 1.0, "system.swin.drop_path", "must be in [0, 1)")

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four stages, from the finest to the coarsest."""
        return (self.width, self.width * 2, self.width * 4, self.width * 8)


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """BERT base, uncased, without its pooler (table VI)."""

    width: int = 768  # of a token
    layers: int = 12  # transformer layers
    heads: int = 12  # of attention
    mlp_width: int = 3072  # hidden width of each feed-forward network
    vocabulary_size: int = 30522  # word pieces
    positions: int = 512  # position embeddings
    dropout: float = 0.1  # of embeddings and layers
    layer_norm_eps: float = 1e-12  # of every layer norm

    def __post_init__(self) -> None:
        require_positive("system.bert", width=self.width, layers=self.layers, heads=self.heads)
        require_field(self.width % self.heads == 0, "system.bert.heads", f"{self.heads} does not divide {self.width}")
        require_field(0.0 <= self.dropout < 1.0, "system.bert.dropout", "must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """Which system is built around the encoder: ours, or the full system of another paper (tables VI and X).

    Only ours reads `fpn` and `decoder` of the model; the full CGFormer and DMMI read `decoder.cgformer` and
    `decoder.dmmi`.
    """

    kind: str = "shared_ris"  # a name of `registry.SYSTEMS`
    encoder: str = DEFAULT_ENCODER  # a name of `registry.ENCODERS`
    vitdet: VitdetConfig = field(default_factory=VitdetConfig)
    stages: tuple[int, ...] = (3, 6, 9, 12)  # of BEiT-3, from the finest map to the coarsest
    pwam_heads: int = 8  # of CGFormer on Swin + BERT; on BEiT-3 it has no PWAM
    interaction: bool = True  # DMMI's text-image interaction at BEiT-3's stages too; its cost cell includes it
    swin: SwinConfig = field(default_factory=SwinConfig)
    bert: BertConfig = field(default_factory=BertConfig)

    def __post_init__(self) -> None:
        require_known(self.kind, SYSTEMS, "system.kind")
        require_known(self.encoder, ENCODERS, "system.encoder", "encoder")
        require_field(len(self.stages) == 4, "system.stages", "needs four")
        joined = self.encoder != DUAL_ENCODER
        require_field(
            joined or self.kind in DUAL_SYSTEMS,
            "system.encoder",
            f"{self.kind} needs an encoder of joined tokens, such as beit3",
        )


@dataclass(frozen=True, kw_only=True)
class ComparedFpnConfig(FpnConfig):
    """Shared FPN, or the one of CRIS or LAVT in its place (table IV)."""

    cris: CrisConfig = field(default_factory=CrisConfig)  # read only by kind "cris"
    pwam: PwamConfig = field(default_factory=PwamConfig)  # read only by kind "pwam"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "cris":
            require_field(len(self.stages) == 3, "fpn.stages", "must be three for kind 'cris'")


@dataclass(frozen=True, kw_only=True)
class ComparedDecoderConfig(DecoderConfig):
    """Shared mask decoder, or the one of CGFormer or DMMI in its place (table V)."""

    cgformer: CgformerConfig = field(default_factory=CgformerConfig)  # of kind "cgformer", and of that system (VI)
    dmmi: DmmiConfig = field(default_factory=DmmiConfig)  # of kind "dmmi", and of that system (VI)


@dataclass(frozen=True, kw_only=True)
class ComparedModelConfig(ModelConfig):
    """A model in which each part may be that of another paper; the default is Shared-RIS."""

    fpn: ComparedFpnConfig = field(default_factory=ComparedFpnConfig)
    decoder: ComparedDecoderConfig = field(default_factory=ComparedDecoderConfig)
    system: SystemConfig = field(default_factory=SystemConfig)

    def __post_init__(self) -> None:
        # A plain FpnConfig would drop fields from the run's hash.
        for name, part, wanted in (
            ("fpn", self.fpn, ComparedFpnConfig),
            ("decoder", self.decoder, ComparedDecoderConfig),
        ):
            require_field(isinstance(part, wanted), name, f"must be a {wanted.__name__}, not {type(part).__name__}")
        super().__post_init__()
        joins = self.system.kind == "shared_ris" and self.decoder.kind in ("none", *FUSIONS)
        require_field(
            joins or self.no_target.kind == "none",
            "no_target.kind",
            "reads the tokens of our decoder: it goes with system.kind shared_ris and a decoder around a fusion module",
        )
        staged = self.system.kind in DUAL_SYSTEMS and self.system.encoder != DUAL_ENCODER
        for stage in self.system.stages if staged else ():
            require_field(stage <= self.encoder.layers, "system.stages", f"there is no layer {stage}")
        if self.system.encoder == DUAL_ENCODER:
            coarsest = self.system.swin.patch_size * 8
            fits = self.encoder.image_size % coarsest == 0
            require_field(fits, "encoder.image_size", f"must be a multiple of {coarsest} for Swin's four maps")

    @property
    def logits_size(self) -> int:
        """Side of the logit map: at the paper's scale 120, a quarter of the input, and 480 for CGFormer."""
        kind = self.decoder.kind if self.system.kind == "shared_ris" else self.system.kind
        if kind == "cgformer":
            scale: int = 2**self.decoder.cgformer.upsample_blocks
            return self.finest_grid * scale
        return self.finest_grid if kind in {"dmmi", "vitdet"} else super().logits_size

    @property
    def vocabulary_size(self) -> int:
        """Ids that the text encoder has a row for."""
        return self.system.bert.vocabulary_size if self.system.encoder == DUAL_ENCODER else super().vocabulary_size

    @property
    def finest_grid(self) -> int:
        """Side of the compared decoders' finest map: 120 for 480 pixels; at tiny scale 32 on BEiT-3, 16 on Swin."""
        swin = self.system.swin.patch_size
        return self.encoder.image_size // swin if self.system.encoder == DUAL_ENCODER else self.encoder.grid * 4

    @property
    def encoder_name(self) -> str:
        """The encoder's name in variants."""
        return self.system.encoder.replace("_", "+")

    @property
    def variant(self) -> str:
        """Name of what the ablations change, the key by which reports join records to rows of the paper's tables."""
        if self.system.kind == "shared_ris":
            return super().variant
        return f"{self.encoder_name}|whole={self.system.kind}"
