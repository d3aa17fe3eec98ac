"""Import of a ViT's weights under timm's names into the image part and the layers of `ViltEncoder`.

Words, text positions and modality vectors have no counterpart in a ViT and stay as they are. The head and the final
norm of the ViT are not used.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.checkpoint_forms import read_tensors
from sharedris.errors import InputError
from sharedris.vilt_encoder import ViltEncoder
from sharedris.weight_import import ImportReport, refuse, require_whole

POSITIONS = "pos_embed"
IGNORED = re.compile(r"(head|norm|fc_norm|pre_logits)\.")
"""Parameters of a ViT that this encoder does not use: the classifier and the final norm."""

TEXT_ONLY = ("embedding.words.", "embedding.text_positions", "embedding.text_norm.", "embedding.modality")
REMEDY = "Give a ViT of timm (vit_base_patch16_*) as .safetensors or .pth, or a file that import-vit wrote"

_OUTER = {
    "embedding.patches.weight": "patch_embed.proj.weight",
    "embedding.patches.bias": "patch_embed.proj.bias",
    "embedding.class_token": "cls_token",
    "embedding.visual_positions": POSITIONS,
}
_INNER = {
    "attention_norm": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "mlp_norm": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def timm_names(encoder: ViltEncoder) -> dict[str, str]:
    """Return, for each parameter that a ViT has too, its name in timm."""
    return {name: _timm(name) for name, _ in encoder.named_parameters() if not name.startswith(TEXT_ONLY)}


def _timm(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    _, index, rest = name.split(".", 2)
    module, _, kind = rest.rpartition(".")
    return f"blocks.{index}.{_INNER[module]}.{kind}"


def to_timm(encoder: ViltEncoder) -> dict[str, Tensor]:
    """Return the weights that a ViT has too, under timm's names and in its shapes."""
    parameters = dict(encoder.named_parameters())
    found = {timm: parameters[name].detach().cpu().clone() for name, timm in timm_names(encoder).items()}
    return {**found, POSITIONS: found[POSITIONS][None]}


def load_vit(model: nn.Module, path: Path | str) -> ImportReport:
    """Load a ViT's weights into the encoder of a model, or into a `ViltEncoder`.

    Args:
        model: changed in place; unchanged after an error.
        path: `.pth` or `.safetensors`, under the key `model` or not.

    Raises:
        InputError: when the file cannot be read, a parameter is missing, unexpected, of the wrong shape or not finite.
    """
    encoder = model if isinstance(model, ViltEncoder) else model.get_submodule("encoder")
    if not isinstance(encoder, ViltEncoder):
        raise InputError("a ViT's weights do not fit another encoder than vilt", "Leave the file out")
    found = read_tensors(Path(path), prefix="", remedy=REMEDY)
    names = timm_names(encoder)
    weights = {name: tensor.float() for name, tensor in found.items() if name in set(names.values())}
    resized = _resize(weights, encoder.embedding.visual_positions.shape[0])
    ignored = {name for name in found.keys() - weights.keys() if IGNORED.match(name)}
    report = ImportReport(
        matched=tuple(sorted(weights.keys() - {*resized})),
        resized=resized,
        ignored=tuple(sorted(ignored)),
        missing=tuple(sorted({*names.values()} - weights.keys())),
        unexpected=tuple(sorted(found.keys() - weights.keys() - ignored)),
    )
    require_whole(report, weights, path, REMEDY)
    parameters = dict(encoder.named_parameters())
    shapes = [(timm, tuple(weights[timm].shape), tuple(parameters[name].shape)) for name, timm in names.items()]
    wrong = [f"{timm} is {got}, not {wanted}" for timm, got, wanted in shapes if got != wanted]
    refuse(path, "does not fit this model:", wrong, REMEDY)
    encoder.load_state_dict({name: weights[timm] for name, timm in names.items()}, strict=False)
    return report


def _resize(weights: dict[str, Tensor], rows: int) -> tuple[str, ...]:
    """Bring the position table to this model's form and grid, in place; return its name if the grid is another one."""
    table = weights.get(POSITIONS)
    if table is None or table.ndim != 3 or len(table) != 1:
        return ()
    weights[POSITIONS] = table[0]
    if table.shape[1] == rows:
        return ()
    weights[POSITIONS] = resize_positions(table[0], math.isqrt(rows - 1))
    return (POSITIONS,)


def resize_positions(table_VD: Tensor, grid: int) -> Tensor:
    """Return a position table for another square grid, as timm does: class token kept, the rest bicubic, antialiased.

    Raises:
        InputError: when the table does not belong to a class token and a square grid.
    """
    old = math.isqrt(max(len(table_VD) - 1, 0))
    if old < 1 or old**2 + 1 != len(table_VD):
        raise InputError(f"{POSITIONS} has {len(table_VD)} rows: not a class token and a square grid", REMEDY)
    patches_1DGG = table_VD[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    patches_1DGG = functional.interpolate(patches_1DGG, size=(grid, grid), mode="bicubic", antialias=True)
    return torch.cat([table_VD[:1], patches_1DGG.permute(0, 2, 3, 1).reshape(grid**2, -1)])
