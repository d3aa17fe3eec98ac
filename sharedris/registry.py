"""Every module by its name in the config: the one place where a module of any kind is added.

A registry is a dict from name to builder. A builder is a callable, or the text "package.module:name", which is
imported when it is first used: configs ask for names without importing torch. `sharedris/contracts.py` states what each
kind must provide. A plugin adds to the same dicts (docs/extending.md).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sharedris.errors import require_field

Builder = Callable[..., Any] | str


@dataclass(frozen=True, kw_only=True)
class EncoderKind:
    """An encoder and, where it can start from pretrained weights, how they are loaded.

    Attributes:
        build: (ComparedModelConfig) -> an `ImageTextEncoder`.
        load_weights: (model, path) -> anything; raises an InputError and changes nothing for a file that does not
            fit `model.encoder`. None where the encoder always starts from random weights.
    """

    build: Builder
    load_weights: Builder | None = None


FUSIONS: dict[str, Builder] = {
    "self_attention": "sharedris.fusion:SelfAttentionFusion",
    "cross_attention": "sharedris.fusion:CrossAttentionFusion",
    "bi_direction": "sharedris.fusion:BiDirectionFusion",
}
"""Fusion modules of FPN and decoder (tables VII b and VIII b): (width, FusionConfig) -> module.

Each is a value of `fpn.kind` and of `decoder.kind`: the Shared FPN and the shared decoder are built around it.
"""

FPNS: dict[str, Builder] = {
    "none": "sharedris.fpn:NoFpn",
    "cris": "sharedris.baselines.cris_fpn:CrisFpn",
    "pwam": "sharedris.build:build_pwam_fpn",
}
"""FPNs by `fpn.kind` (tables IV and VII): (ComparedModelConfig) -> module."""

DECODERS: dict[str, Builder] = {
    "none": "sharedris.build:build_shared_decoder",
    "cgformer": "sharedris.build:build_cgformer_decoder",
    "dmmi": "sharedris.build:build_dmmi_decoder",
}
"""Decoders by `decoder.kind` (tables V and VIII): (ComparedModelConfig) -> (decoder, head)."""

ENCODERS: dict[str, EncoderKind] = {
    "beit3": EncoderKind(build="sharedris.build:build_beit3", load_weights="sharedris.beit3:load_beit3"),
    "swin_bert": EncoderKind(
        build="sharedris.baselines.dual_encoder:DualEncoder",
        load_weights="sharedris.baselines.bert_swin_weights:load_dual",
    ),
    "vilt": EncoderKind(
        build="sharedris.vilt_encoder:ViltEncoder",
        load_weights="sharedris.vit_weights:load_vit",
    ),
}
"""Encoders by `system.encoder` (table VI)."""

SYSTEMS: dict[str, Builder] = {
    "shared_ris": "sharedris.build:build_shared_ris",
    "vitdet": "sharedris.build:build_vitdet",
    "cgformer": "sharedris.build:build_full_system",
    "dmmi": "sharedris.build:build_full_system",
}
"""Frameworks by `system.kind` (tables VI and X): (ComparedModelConfig) -> the complete model."""

NO_TARGETS: dict[str, Builder] = {
    "none": "sharedris.build:build_always_target",
    "head": "sharedris.no_target:NoTargetHead",
}
"""What is done about sentences without a target, by `no_target.kind`: (ComparedModelConfig) -> module."""

LOSSES: dict[str, Builder] = {}
"""Terms that `train.loss.terms` adds to equation 12: (logits_BHW, mask_BHW) -> scalar."""


def fpn_kinds() -> list[str]:
    """Return every value of `fpn.kind`."""
    return [*FPNS, *FUSIONS]


def decoder_kinds() -> list[str]:
    """Return every value of `decoder.kind`."""
    return [*DECODERS, *FUSIONS]


def resolve(builder: Builder) -> Callable[..., Any]:
    """Return the builder itself, imported where the registry holds its place as text."""
    if not isinstance(builder, str):
        return builder
    module, _, name = builder.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def require_known(name: str, known: Iterable[str], field: str, what: str = "kind") -> None:
    """Check that a registry holds a name.

    Raises:
        ValueError: naming the field, the known names and the closest one.
    """
    known = list(known)
    require_field(name in known, field, f"unknown {what} {name!r}{suggestion(name, known)}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the closest known name, and all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    guess = f", did you mean {close[0]!r}?" if close else ";"
    return f"{guess} known: {', '.join(known) or 'none'} (a plugin adds more: --plugin FILE)"
