"""The parameters of a run that its model and training read: what MLflow shows and compares.

A config holds the options of every system that it could name. Those of other kinds are left out here; the record has
them all. A part or field that no rule names counts as read, so a plugin's options are always shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.config import RunConfig
from sharedris.baselines.config import DUAL_ENCODER, DUAL_SYSTEMS, ComparedModelConfig
from sharedris.config import to_dict
from sharedris.registry import DECODERS, FPNS

_ONE_DIRECTION = ("none", "self_attention", "cross_attention")
"""Fusions that do not read the sizes of the bi-direction module."""


def used_parameters(config: RunConfig) -> dict[str, str]:
    """Return dotted name -> value of the parameters that the run reads; an empty list of options is left out."""
    unread = tuple(_unread(config.model))
    return {
        name: value
        for name, value in _flatten(to_dict(config))
        if value != "[]" and not name.removeprefix("model.").startswith(unread)
    }


def _unread(model: ComparedModelConfig) -> Iterator[str]:
    """Yield the beginning of each name below `model` that no module reads."""
    ours, dual = model.system.kind == "shared_ris", model.system.encoder == DUAL_ENCODER
    yield from _unread_of_system(model)
    if not ours:
        yield from ("fpn.", "head.", "decoder.kind", "decoder.layers", "decoder.fusion.")
    if ours and model.decoder.kind in ("cgformer", "dmmi"):  # they make the mask without our head
        yield "head."
    for part, options, kinds in (("fpn", model.fpn, FPNS), ("decoder", model.decoder, DECODERS)):
        if options.kind in kinds:
            yield f"{part}.fusion."
        elif options.kind in _ONE_DIRECTION:
            yield f"{part}.fusion.bi_"
    yield from (f"fpn.{name}." for name in ("cris", "pwam") if model.fpn.kind != name)
    reads = model.decoder.kind if ours else model.system.kind
    yield from (f"decoder.{name}." for name in DUAL_SYSTEMS if reads != name)
    if dual:  # only the sizes of its inputs are those of `encoder`
        kept = ("image_size", "text_tokens")
        yield from (f"encoder.{name}" for name in to_dict(model.encoder) if name not in kept)


def _unread_of_system(model: ComparedModelConfig) -> Iterator[str]:
    kind, dual = model.system.kind, model.system.encoder == DUAL_ENCODER
    if not dual:
        yield from ("system.swin.", "system.bert.")
    if kind != "vitdet":
        yield "system.vitdet."
    if kind not in DUAL_SYSTEMS or dual:
        yield "system.stages"
    if kind != "cgformer" or not dual:
        yield "system.pwam_heads"
    if kind != "dmmi":
        yield "system.interaction"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
