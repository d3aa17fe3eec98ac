"""Import and export of BEiT-3's official weights: names, position tables, and an error for every missing parameter.

A layer here has q, k and v of a modality in one matrix; the official files have three. Everything else is a change of
name. The final norm is read only if the encoder has one: Shared-RIS takes its stages before it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.checkpoint_forms import read_tensors
from sharedris.encoder import FIRST_POSITION, Encoder
from sharedris.errors import InputError
from sharedris.weight_import import ImportReport, refuse, require_whole

PREFIX = "beit3."
VISUAL_POSITIONS = "encoder.embed_positions.A.weight"
FIXED_ROWS = FIRST_POSITION + 1
"""Rows of the visual position table that are not patches: two unused ones and the class token's."""

IGNORED = re.compile(
    r"(mlm_head|mlm_classifier|mim_head|lm_head|language_head|vision_head|pooler|head|classifier|fc_norm)\."
    r"|logit_scale$|vision_embed\.mask_token$|encoder\.layer_norm\.[AB]\.(weight|bias)$"
)
"""Official parameters that this model does not use: heads of the pre-training and fine-tuning tasks, mask
token, final norm."""

REMEDY = "Give one of Microsoft's beit3_{base,large}_*.pth, or a file that import-beit3 wrote, and the matching --model"


def official_names(encoder: Encoder) -> dict[str, tuple[str, ...]]:
    """Return, for each parameter of the encoder, its official names (three for q, k, v)."""
    return {name: _official(name) for name, _ in encoder.named_parameters()}


_OUTER = {
    "embedding.patches.weight": "vision_embed.proj.weight",
    "embedding.patches.bias": "vision_embed.proj.bias",
    "embedding.class_token": "vision_embed.cls_token",
    "embedding.words.weight": "text_embed.weight",
    "embedding.visual_positions": VISUAL_POSITIONS,
    "embedding.text_positions": "encoder.embed_positions.B.weight",
}
_INNER = {
    "attention_norm": "self_attn_layer_norm.{way}",
    "inner_norm": "self_attn.inner_attn_ln.{way}",
    "out": "self_attn.out_proj.{way}",
    "mlp_norm": "final_layer_norm.{way}",
    "fc1": "ffn.{way}.fc1",
    "hidden_norm": "ffn.{way}.ffn_layernorm",
    "fc2": "ffn.{way}.fc2",
}


def _official(name: str) -> tuple[str, ...]:
    if name in _OUTER:
        return (_OUTER[name],)
    parts = name.split(".")
    if parts[0] == "final_norm":
        return (f"encoder.layer_norm.{'AB'[int(parts[1])]}.{parts[2]}",)
    _, index, modality, module, kind = parts
    way = {"visual": "A", "text": "B"}[modality]
    if module == "qkv":
        return tuple(f"encoder.layers.{index}.self_attn.{part}_proj.{way}.{kind}" for part in "qkv")
    return (f"encoder.layers.{index}.{_INNER[module].format(way=way)}.{kind}",)


def to_official(encoder: Encoder) -> dict[str, Tensor]:
    """Return the encoder's weights under their official names, without the `beit3.` prefix."""
    weights: dict[str, Tensor] = {}
    for name, parameter in encoder.named_parameters():
        officials = _official(name)
        parts = parameter.detach().cpu().chunk(len(officials))
        weights.update({official: part.clone() for official, part in zip(officials, parts, strict=True)})
    return weights


def load_beit3(model: nn.Module, path: Path | str) -> ImportReport:
    """Load official weights into the encoder of a `SharedRis`, or into an `Encoder`.

    Args:
        model: changed in place; unchanged after an error.
        path: `.pth` or `.safetensors`, in any form that `read_tensors` knows.

    Raises:
        InputError: when the file cannot be read, a parameter is missing, unexpected, of the wrong shape or not finite.
    """
    encoder = model if isinstance(model, Encoder) else model.get_submodule("encoder")
    if not isinstance(encoder, Encoder):
        raise InputError("BEiT-3's weights do not fit a model with separate encoders", "Leave the file out")
    found = read_official(Path(path))
    report, weights = _match(encoder, found)
    require_whole(report, weights, path, REMEDY)
    _load(encoder, weights, path)
    return report


def _match(encoder: Encoder, found: dict[str, Tensor]) -> tuple[ImportReport, dict[str, Tensor]]:
    """Return the report and the encoder's weights, with the visual positions at the encoder's grid."""
    wanted = {official for officials in official_names(encoder).values() for official in officials}
    weights = {name: tensor.float() for name, tensor in found.items() if name in wanted}
    resized = []
    if VISUAL_POSITIONS in weights:
        rows = encoder.embedding.visual_positions.shape[0]
        if weights[VISUAL_POSITIONS].ndim == 2 and weights[VISUAL_POSITIONS].shape[0] != rows:
            weights[VISUAL_POSITIONS] = resize_positions(weights[VISUAL_POSITIONS], math.isqrt(rows - FIXED_ROWS))
            resized.append(VISUAL_POSITIONS)
    others = set(found) - wanted
    ignored = {name for name in others if IGNORED.match(name)}
    report = ImportReport(
        matched=tuple(sorted(set(weights) - set(resized))),
        resized=tuple(resized),
        ignored=tuple(sorted(ignored)),
        missing=tuple(sorted(wanted - set(weights))),
        unexpected=tuple(sorted(others - ignored)),
    )
    return report, weights


def _load(encoder: Encoder, weights: dict[str, Tensor], path: Path | str) -> None:
    """Concatenate q, k and v and check every shape before changing the encoder."""
    state, wrong = {}, []
    for name, parameter in encoder.named_parameters():
        parts = [weights[official] for official in _official(name)]
        expected = (parameter.shape[0] // len(parts), *parameter.shape[1:])
        for official, part in zip(_official(name), parts, strict=True):
            if part.shape != expected:
                wrong.append(f"{official} is {tuple(part.shape)}, not {expected}")
        if not wrong:
            state[name] = torch.cat(parts)
    refuse(path, "does not fit this model:", wrong, REMEDY)
    encoder.load_state_dict(state)


def resize_positions(table_ND: Tensor, grid: int) -> Tensor:
    """Return the visual position table for another square grid: first rows kept, the rest bicubic.

    Raises:
        InputError: when the table does not belong to a square grid.
    """
    old = math.isqrt(max(table_ND.shape[0] - FIXED_ROWS, 0))
    if old < 1 or old**2 + FIXED_ROWS != table_ND.shape[0]:
        raise InputError(f"{VISUAL_POSITIONS} has {table_ND.shape[0]} rows, which is not a square grid", REMEDY)
    patches_1DGG = table_ND[FIXED_ROWS:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    patches_1DGG = functional.interpolate(patches_1DGG, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([table_ND[:FIXED_ROWS], patches_1DGG.permute(0, 2, 3, 1).reshape(grid**2, -1)])


def read_official(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint under official names without prefix.

    Raises:
        InputError: when the file is missing, is not a checkpoint, or contains code.
    """
    return read_tensors(path, prefix=PREFIX, remedy=REMEDY)
