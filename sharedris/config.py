"""What a model is made of: one frozen dataclass per component, and the three scales.

Every choice that the paper leaves open is a field here with the default of the project's design, so that each record
can store it. `to_dict` and `from_dict` carry a config through JSON without losing a field.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from sharedris.baselines.config import (
    BertConfig,
    CgformerConfig,
    CrisConfig,
    DmmiConfig,
    PwamConfig,
    SwinConfig,
    SystemConfig,
    VitdetConfig,
)

Precision = Literal["fp32", "bf16", "fp16"]
FpnKind = Literal["none", "self_attention", "cross_attention", "bi_direction", "cris", "pwam"]
DecoderKind = Literal["none", "self_attention", "cross_attention", "bi_direction", "cgformer", "dmmi"]


def _require(condition: bool, field_name: str, message: str) -> None:
    """Raise a ValueError that names the field."""
    if not condition:
        raise ValueError(f"{field_name}: {message}")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """BEiT-3 (equations 1 to 5). Defaults are the base model of the paper."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    patch_size: int = 16
    image_size: int = 480
    vocabulary_size: int = 64010
    text_tokens: int = 20  # T: class token, words, end token, padding; inferred from the paper's cost cells
    text_positions: int = 1024
    layer_norm_eps: float = 1e-5
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        _require(self.width % self.heads == 0, "encoder.heads", f"{self.heads} does not divide width {self.width}")
        _require(
            self.image_size >= self.patch_size and self.image_size % self.patch_size == 0,
            "encoder.image_size",
            f"{self.image_size} is not a multiple of patch_size {self.patch_size}",
        )
        _require(3 <= self.text_tokens <= self.text_positions, "encoder.text_tokens", "must be 3 .. text_positions")
        _require(0.0 <= self.drop_path < 1.0, "encoder.drop_path", "must be in [0, 1)")
        _require(min(self.layers, self.mlp_width, self.vocabulary_size) > 0, "encoder", "sizes must be positive")

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Sizes of the fusion modules (tables VII b, VIII b), shared by FPN and decoder."""

    heads: int = 8
    mlp_width: int = 2048
    bi_width: int = 2048  # inner width of the bi-direction module; inferred from its cost cell
    bi_heads: int = 4
    bi_layer_scale: float = 1e-4

    def __post_init__(self) -> None:
        _require(self.bi_width % self.bi_heads == 0, "fusion.bi_heads", "must divide bi_width")


@dataclass(frozen=True, kw_only=True)
class FpnConfig:
    """Shared FPN (equations 6 and 7); `kind="none"` projects the last layer alone ("No FPN")."""

    kind: FpnKind = "self_attention"
    stages: tuple[int, ...] = (3, 6, 9, 12)
    multiway_projection: bool = True  # W_j once per modality: alone fits the published 4/6/8 M
    fusion: FusionConfig = field(default_factory=FusionConfig)
    cris: CrisConfig = field(default_factory=CrisConfig)  # read by kind "cris" alone
    pwam: PwamConfig = field(default_factory=PwamConfig)  # read by kind "pwam" alone

    def __post_init__(self) -> None:
        _require(self.kind in typing.get_args(FpnKind), "fpn.kind", f"unknown kind {self.kind!r}")
        if self.kind == "none":
            _require(self.stages == (), "fpn.stages", "must be empty for kind 'none'")
        else:
            _require(len(self.stages) > 0, "fpn.stages", "needs at least one stage")
            ordered = all(a < b for a, b in zip(self.stages, self.stages[1:], strict=False))
            _require(ordered and self.stages[0] >= 1, "fpn.stages", f"{self.stages} must rise from 1 or more")
        if self.kind == "cris":
            _require(len(self.stages) == 3, "fpn.stages", "must be three for kind 'cris'")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Shared mask decoder (equations 8 and 9); `kind="none"` is the mask head alone ("No fusion")."""

    kind: DecoderKind = "self_attention"
    layers: int = 1
    fusion: FusionConfig = field(default_factory=FusionConfig)
    cgformer: CgformerConfig = field(default_factory=CgformerConfig)  # of kind "cgformer", and of that system (VI)
    dmmi: DmmiConfig = field(default_factory=DmmiConfig)  # of kind "dmmi", and of that system (VI)

    def __post_init__(self) -> None:
        _require(self.kind in typing.get_args(DecoderKind), "decoder.kind", f"unknown kind {self.kind!r}")
        if self.kind == "none":
            _require(self.layers == 0, "decoder.layers", "must be 0 for kind 'none'")
        else:
            _require(self.layers >= 1, "decoder.layers", "must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Mask prediction (equations 10 and 11)."""

    upsample_blocks: int = 2
    class_token_hidden: int = 512  # hidden width of the class token's MLP; the paper is silent
    output_convolution: bool = True  # the 1x1 convolution after the blocks; inferred from the cost cells

    def __post_init__(self) -> None:
        _require(0 <= self.upsample_blocks <= 4, "head.upsample_blocks", "must be 0 .. 4")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Equation 12: weights of binary cross-entropy and Dice, and the size at which they are taken."""

    bce: float = 2.0
    dice: float = 0.5
    resolution: Literal["logits", "input"] = "logits"  # the paper compares at M's own size


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole model; `scale` is its name in records and captions."""

    scale: str = "base"
    width: int = 512  # d_w, the width of FPN, decoder and head
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    fpn: FpnConfig = field(default_factory=FpnConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    system: SystemConfig = field(default_factory=SystemConfig)

    def __post_init__(self) -> None:
        for stage in self.fpn.stages:
            _require(
                stage <= self.encoder.layers,
                "fpn.stages",
                f"stage {stage} of an encoder with {self.encoder.layers} layers does not exist",
            )
        staged = self.system.kind in {"cgformer", "dmmi"} and self.system.encoder == "beit3"
        for stage in self.system.stages if staged else ():
            _require(stage <= self.encoder.layers, "system.stages", f"there is no layer {stage}")
        if self.system.encoder == "swin_bert":
            coarsest = self.system.swin.patch_size * 8
            fits = self.encoder.image_size % coarsest == 0
            _require(fits, "encoder.image_size", f"must be a multiple of {coarsest} for Swin's four maps")
        for name, part in (("fpn", self.fpn.fusion), ("decoder", self.decoder.fusion)):
            _require(
                self.width % part.heads == 0,
                f"{name}.fusion.heads",
                f"{part.heads} does not divide {self.width}",
            )

    @property
    def logits_size(self) -> int:
        """Side of the logit map: at the paper's scale 120, a quarter of the input, and 480 for CGFormer."""
        kind = self.decoder.kind if self.system.kind == "shared_ris" else self.system.kind
        if kind == "cgformer":
            return self.finest_grid * 2**self.decoder.cgformer.upsample_blocks
        if kind in {"dmmi", "vitdet"}:
            return self.finest_grid
        return self.encoder.grid * 2**self.head.upsample_blocks

    @property
    def vocabulary_size(self) -> int:
        """Ids that the text encoder has a row for."""
        return self.encoder.vocabulary_size if self.system.encoder == "beit3" else self.system.bert.vocabulary_size

    @property
    def finest_grid(self) -> int:
        """Side of the compared decoders' finest map: 120 for 480 pixels; at tiny scale 32 on BEiT-3, 16 on Swin."""
        swin = self.system.swin.patch_size
        return self.encoder.grid * 4 if self.system.encoder == "beit3" else self.encoder.image_size // swin

    @property
    def variant(self) -> str:
        """Name of what the ablations change, the key by which reports join records to rows of the paper's tables."""
        if self.system.kind != "shared_ris":
            return f"{self.system.encoder.replace('_', '+')}|whole={self.system.kind}"
        stages = ",".join(str(stage) for stage in self.fpn.stages)
        return f"beit3|fpn={self.fpn.kind}({stages})|decoder={self.decoder.kind}({self.decoder.layers})"


def tiny(**changes: Any) -> ModelConfig:
    """Return the CPU scale: 12 layers, so that the paper's stage numbers mean the same, at 64x64 pixels."""
    fusion = FusionConfig(heads=4, mlp_width=256, bi_width=256)
    return dataclasses.replace(
        ModelConfig(
            scale="tiny",
            width=64,
            encoder=EncoderConfig(
                width=64,
                heads=4,
                mlp_width=256,
                patch_size=8,
                image_size=64,
                vocabulary_size=1024,
                text_positions=64,
            ),
            fpn=FpnConfig(fusion=fusion, cris=CrisConfig(level_widths=(32, 64, 128))),
            decoder=DecoderConfig(
                fusion=fusion,
                # Patches of 8 pixels: the finest map has half the input's side already (on Swin a quarter, always).
                cgformer=CgformerConfig(pyramid_widths=(128, 64, 32, 16), token_width=64, upsample_blocks=1),
                dmmi=DmmiConfig(pyramid_widths=(128, 64, 32, 16), width=64, heads=4, mlp_width=256),
            ),
            head=HeadConfig(class_token_hidden=64),
            system=SystemConfig(
                vitdet=VitdetConfig(width=64),
                swin=SwinConfig(width=16, depths=(2, 2, 2, 2), heads=(1, 2, 4, 8), window=4, drop_path=0.1),
                bert=BertConfig(width=64, layers=4, heads=4, mlp_width=256, vocabulary_size=1024, positions=64),
            ),
        ),
        **changes,
    )


def base(**changes: Any) -> ModelConfig:
    """Return the paper's base model."""
    return dataclasses.replace(ModelConfig(), **changes)


def large(**changes: Any) -> ModelConfig:
    """Return the paper's large model."""
    return dataclasses.replace(
        ModelConfig(
            scale="large",
            encoder=EncoderConfig(width=1024, layers=24, heads=16, mlp_width=4096),
            fpn=FpnConfig(stages=(6, 12, 18, 24)),
            system=SystemConfig(stages=(6, 12, 18, 24)),
        ),
        **changes,
    )


SCALES: dict[str, Callable[..., ModelConfig]] = {"tiny": tiny, "base": base, "large": large}


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as plain containers that JSON holds without loss."""
    return dataclasses.asdict(config)


def from_dict(config_class: type, values: dict[str, Any], path: str = "") -> Any:
    """Build a config dataclass from the dictionary that `to_dict` made (lists become tuples again).

    Raises:
        ValueError: for a field that the class does not have, or a value that it refuses; the message names the field.
    """
    hints = typing.get_type_hints(config_class)
    unknown = sorted(set(values) - set(hints))
    _require(not unknown, path or config_class.__name__, f"unknown field(s) {', '.join(unknown)}")
    return config_class(**{name: _restore(hints[name], value, f"{path}{name}.") for name, value in values.items()})


def _restore(hint: Any, value: Any, path: str) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if value is not None and dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, path)
    if typing.get_origin(hint) is tuple:
        return tuple(value)
    return value
