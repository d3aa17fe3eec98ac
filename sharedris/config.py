"""What Shared-RIS is made of: one frozen dataclass per component.

Every choice that the paper leaves open is a field here with the default of the project's design, so that each record
can store it. `to_dict` and `from_dict` carry a config through JSON without losing a field. The scales are in
`sharedris/scales.py`; `sharedris/baselines/config.py` adds the options of other papers' modules.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from sharedris.config_values import (
    checked_value,
    require_component,
    require_distinct,
    require_not_negative,
    require_positive,
)
from sharedris.errors import require_field
from sharedris.registry import LOSSES, NO_TARGETS, decoder_kinds, fpn_kinds, require_known

Precision = Literal["fp32", "bf16", "fp16"]
Float32Products = Literal["float32", "tf32"]
_MOST_LAYERS = 1000
Option = int | float | str | bool


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """BEiT-3 (equations 1 to 5). Defaults are the base model of the paper."""

    width: int = 768  # of a token, D
    layers: int = 12  # transformer layers
    heads: int = 12  # of attention
    mlp_width: int = 3072  # hidden width of each feed-forward network
    patch_size: int = 16  # pixels of a side
    image_size: int = 480  # pixels of a side of the square input
    vocabulary_size: int = 64010  # pieces of the tokenizer
    text_tokens: int = 20  # T: class token, words, end token, padding; inferred from the paper's cost cells
    text_positions: int = 1024  # position embeddings of the text
    layer_norm_eps: float = 1e-5  # of every layer norm
    drop_path: float = 0.1  # probability at the last layer; it grows linearly from 0 at the first

    def __post_init__(self) -> None:
        require_positive(
            "encoder",
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            mlp_width=self.mlp_width,
            patch_size=self.patch_size,
            vocabulary_size=self.vocabulary_size,
            layer_norm_eps=self.layer_norm_eps,
        )
        require_field(self.layers <= _MOST_LAYERS, "encoder.layers", f"{self.layers} is above {_MOST_LAYERS}")
        require_field(self.width % self.heads == 0, "encoder.heads", f"{self.heads} does not divide width {self.width}")
        require_field(
            self.image_size >= self.patch_size and self.image_size % self.patch_size == 0,
            "encoder.image_size",
            f"{self.image_size} is not a multiple of patch_size {self.patch_size}",
        )
        require_field(
            3 <= self.text_tokens <= self.text_positions, "encoder.text_tokens", "must be 3 .. text_positions"
        )
        require_field(0.0 <= self.drop_path < 1.0, "encoder.drop_path", "must be in [0, 1)")

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Sizes of the fusion modules (tables VII b, VIII b), shared by FPN and decoder."""

    heads: int = 8  # of attention
    mlp_width: int = 2048  # hidden width of the feed-forward network
    bi_width: int = 2048  # inner width of the bi-direction module; inferred from its cost cell
    bi_heads: int = 4  # of attention, of the bi-direction module
    bi_layer_scale: float = 1e-4  # first value of what scales its residuals
    options: tuple[tuple[str, Option], ...] = ()  # (name, value) of modules that this project does not contain

    def __post_init__(self) -> None:
        require_positive(
            "fusion", heads=self.heads, mlp_width=self.mlp_width, bi_width=self.bi_width, bi_heads=self.bi_heads
        )
        require_field(self.bi_width % self.bi_heads == 0, "fusion.bi_heads", "must divide bi_width")
        require_distinct((name for name, _ in self.options), "fusion.options")

    def option(self, name: str, default: Option) -> Any:
        """Return the value of an own module's option, or the default."""
        return dict(self.options).get(name, default)


@dataclass(frozen=True, kw_only=True)
class FpnConfig:
    """Shared FPN (equations 6 and 7); `kind="none"` projects only the last layer ("No FPN")."""

    kind: str = "self_attention"  # a name of `registry.FPNS` or `registry.FUSIONS`
    stages: tuple[int, ...] = (3, 6, 9, 12)  # encoder layers that the FPN reads, from the earliest; empty: no FPN
    multiway_projection: bool = True  # W_j once per modality: only this fits the published 4/6/8 M
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self) -> None:
        require_known(self.kind, fpn_kinds(), "fpn.kind")
        if self.kind == "none":
            require_field(self.stages == (), "fpn.stages", "must be empty for kind 'none'")
        else:
            require_field(len(self.stages) > 0, "fpn.stages", "needs at least one stage")
            ordered = all(a < b for a, b in zip(self.stages, self.stages[1:], strict=False))
            require_field(ordered and self.stages[0] >= 1, "fpn.stages", f"{self.stages} must rise from 1 or more")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Shared mask decoder (equations 8 and 9); `kind="none"` leaves only the mask head ("No fusion")."""

    kind: str = "self_attention"  # a name of `registry.DECODERS` or `registry.FUSIONS`
    layers: int = 1  # of the decoder
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self) -> None:
        require_known(self.kind, decoder_kinds(), "decoder.kind")
        if self.kind == "none":
            require_field(self.layers == 0, "decoder.layers", "must be 0 for kind 'none'")
        else:
            require_field(self.layers >= 1, "decoder.layers", "must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Mask prediction (equations 10 and 11)."""

    upsample_blocks: int = 2  # each doubles the side of the map
    class_token_hidden: int = 512  # hidden width of the class token's MLP; the paper is silent
    output_convolution: bool = True  # the 1x1 convolution after the blocks; inferred from the cost cells

    def __post_init__(self) -> None:
        require_field(0 <= self.upsample_blocks <= 4, "head.upsample_blocks", "must be 0 .. 4")
        require_positive("head", class_token_hidden=self.class_token_hidden)


@dataclass(frozen=True, kw_only=True)
class NoTargetConfig:
    """What is done about sentences that name nothing in the image; not of the paper."""

    kind: str = "none"  # a name of `registry.NO_TARGETS`
    weight: float = 1.0  # of the head's binary cross-entropy

    def __post_init__(self) -> None:
        require_known(self.kind, NO_TARGETS, "no_target.kind")
        require_not_negative("no_target", weight=self.weight)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Equation 12: weights of binary cross-entropy and Dice, and the size at which they are computed."""

    bce: float = 2.0  # weight of binary cross-entropy
    dice: float = 0.5  # weight of Dice
    resolution: Literal["logits", "input"] = "logits"  # the paper compares at M's own size
    terms: tuple[tuple[str, float], ...] = ()  # (name of `registry.LOSSES`, weight), added to the two

    def __post_init__(self) -> None:
        require_not_negative("train.loss", bce=self.bce, dice=self.dice)
        for name, weight in self.terms:
            require_known(name, LOSSES, "train.loss.terms", "loss term")
            require_not_negative("train.loss.terms", **{name: weight})


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A complete model; `scale` is its name in records and captions."""

    scale: str = "base"  # name of the sizes, in the id of a run
    width: int = 512  # d_w, the width of FPN, decoder and head
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    fpn: FpnConfig = field(default_factory=FpnConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    no_target: NoTargetConfig = field(default_factory=NoTargetConfig)

    def __post_init__(self) -> None:
        require_component(self.scale, "model.scale")
        require_positive("model", width=self.width)
        for stage in self.fpn.stages:
            require_field(
                stage <= self.encoder.layers,
                "fpn.stages",
                f"stage {stage} of an encoder with {self.encoder.layers} layers does not exist",
            )
        for name, part in (("fpn", self.fpn.fusion), ("decoder", self.decoder.fusion)):
            require_field(
                self.width % part.heads == 0,
                f"{name}.fusion.heads",
                f"{part.heads} does not divide {self.width}",
            )

    @property
    def logits_size(self) -> int:
        """Side of the logit map: at the paper's scale 120, a quarter of the input."""
        scale: int = 2**self.head.upsample_blocks
        return self.encoder.grid * scale

    @property
    def vocabulary_size(self) -> int:
        """Ids that the text encoder has a row for."""
        return self.encoder.vocabulary_size

    @property
    def encoder_name(self) -> str:
        """The encoder's name in variants."""
        return "beit3"

    @property
    def variant(self) -> str:
        """Name of what the ablations change, the key by which reports join records to rows of the paper's tables."""
        stages = ",".join(str(stage) for stage in self.fpn.stages)
        parts = f"{self.encoder_name}|fpn={self.fpn.kind}({stages})|decoder={self.decoder.kind}({self.decoder.layers})"
        return parts if self.no_target.kind == "none" else f"{parts}|no_target={self.no_target.kind}"


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as plain containers that JSON holds without loss."""
    return dataclasses.asdict(config)


def from_dict(config_class: type, values: dict[str, Any], path: str = "") -> Any:
    """Build a config dataclass from the dictionary that `to_dict` made (lists become tuples again).

    Raises:
        ValueError: for a field that the class does not have, or a value that it refuses; the message names the field.
    """
    require_field(
        isinstance(values, dict), path or config_class.__name__, f"must hold named fields, not {values!r:.80}"
    )
    hints = typing.get_type_hints(config_class)
    unknown = sorted(set(values) - {entry.name for entry in dataclasses.fields(config_class)})
    require_field(not unknown, path or config_class.__name__, f"unknown field(s) {', '.join(unknown)}")
    return config_class(**{name: _restore(hints[name], value, f"{path}{name}.") for name, value in values.items()})


def _restore(hint: Any, value: Any, path: str) -> Any:
    if value is not None and dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, path)
    return checked_value(hint, value, path.removesuffix("."))
