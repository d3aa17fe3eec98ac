"""Weights of Swin and BERT in the format of Hugging Face's transformers (`SwinModel`, `BertModel`).

A file that lacks a parameter, or has one of another shape, is an error. `sharedris import dual` writes both to one file
under our names, for the dual encoders of table VI.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from sharedris.baselines.bert import Bert
from sharedris.baselines.swin import Swin
from sharedris.beit3 import read_official
from sharedris.errors import InputError
from sharedris.finite_weights import require_finite

REMEDY = "Give the model.safetensors of a SwinModel or BertModel of transformers of the same size"
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BERT_LAYER = {
    "attention.qkv": [f"attention.self.{part}" for part in ("query", "key", "value")],
    "attention.out": ["attention.output.dense"],
    "attention_norm": ["attention.output.LayerNorm"],
    "fc1": ["intermediate.dense"],
    "fc2": ["output.dense"],
    "mlp_norm": ["output.LayerNorm"],
}
BERT_OUTER = {
    "words.weight": "embeddings.word_embeddings.weight",
    "positions": "embeddings.position_embeddings.weight",
    "sentences": "embeddings.token_type_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}
SWIN_BLOCK = {
    "attention.offset_bias": ["attention.self.relative_position_bias_table"],
    "attention.qkv": [f"attention.self.{part}" for part in ("query", "key", "value")],
    "attention.out": ["attention.output.dense"],
    "attention_norm": ["layernorm_before"],
    "mlp_norm": ["layernorm_after"],
    "mlp.fc1": ["intermediate.dense"],
    "mlp.fc2": ["output.dense"],
}
SWIN_OUTER = {
    "patches": "embeddings.patch_embeddings.projection",
    "patch_norm": "embeddings.norm",
    "merge.norm": "downsample.norm",
    "merge.reduce": "downsample.reduction",
}


def bert_names(name: str) -> list[str]:
    """Return the official names of a parameter of `Bert`: three for queries, keys and values."""
    if name in BERT_OUTER:
        return [BERT_OUTER[name]]
    _, index, rest = name.split(".", 2)
    module, kind = rest.rsplit(".", 1)
    return [f"encoder.layer.{index}.{official}.{kind}" for official in BERT_LAYER[module]]


def swin_names(name: str) -> list[str]:
    """Return the official names of a parameter of `Swin`; none for the norms of maps, which are new."""
    if re.fullmatch(r"stages\.\d\.norm\.(weight|bias)", name):
        return []
    block = re.fullmatch(r"stages\.(\d)\.blocks\.(\d+)\.(.+)", name)
    if block:
        stage, depth, rest = block.groups()
        prefix = f"encoder.layers.{stage}.blocks.{depth}."
        if rest in SWIN_BLOCK:
            return [prefix + official for official in SWIN_BLOCK[rest]]
        module, kind = rest.rsplit(".", 1)
        return [f"{prefix}{official}.{kind}" for official in SWIN_BLOCK[module]]
    stage_part = re.fullmatch(r"stages\.(\d)\.(.+)\.(weight|bias)", name)
    if stage_part:
        stage, module, kind = stage_part.groups()
        return [f"encoder.layers.{stage}.{SWIN_OUTER[module]}.{kind}"]
    module, kind = name.rsplit(".", 1)
    return [f"{SWIN_OUTER[module]}.{kind}"]


def load_bert(bert: Bert, path: Path | str) -> None:
    """Load a `BertModel` (its pooler and heads are not used).

    Raises:
        InputError: when the file cannot be read, lacks a parameter or does not fit.
    """
    weights = {_modern(name).removeprefix("bert."): tensor for name, tensor in read_official(Path(path)).items()}
    _load(bert, {name: bert_names(name) for name, _ in bert.named_parameters()}, weights, path)


def load_swin(swin: Swin, path: Path | str) -> None:
    """Load a `SwinModel` (its last norm is not used; the norms of the four maps keep their values).

    Raises:
        InputError: when the file cannot be read, lacks a parameter or does not fit.
    """
    weights = {name.removeprefix("swin."): tensor for name, tensor in read_official(Path(path)).items()}
    _load(swin, {name: swin_names(name) for name, _ in swin.named_parameters()}, weights, path)


def to_joined(swin: Swin, bert: Bert) -> dict[str, Tensor]:
    """Return the weights of both under our names, `swin.` and `bert.`, without the norms of maps, which are new."""
    return {
        f"{name}.{key}": tensor.detach().clone()
        for name, module in (("swin", swin), ("bert", bert))
        for key, tensor in module.named_parameters()
        if not _is_new(name, key)
    }


def for_our_pixels(swin: Swin) -> None:
    """Adapt a Swin that was trained on ImageNet's mean and deviation to pixels of -1 .. 1, as in all models here.

    The first layer is linear in a pixel: (x - mean) / deviation = y / (2 deviation) + (0.5 - mean) / deviation where
    y = 2 x - 1.
    """
    mean_3, deviation_3 = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_DEVIATION)
    patches = swin.patches
    assert patches.bias is not None
    with torch.no_grad():
        patches.bias += torch.einsum("ocyx,c->o", patches.weight, (0.5 - mean_3) / deviation_3)
        patches.weight /= 2 * deviation_3[:, None, None]


def load_dual(model: nn.Module, path: Path) -> None:
    """Load the weights written by `import-dual` into a model with Swin and BERT in the place of BEiT-3.

    Raises:
        InputError: when the file cannot be read, lacks a parameter, has another one or does not fit.
    """
    encoder, weights = model.get_submodule("encoder"), read_official(path)
    wanted = {
        name: parameter
        for name, parameter in encoder.named_parameters()
        if name.startswith(("swin.", "bert.")) and not _is_new(*name.split(".", 1))
    }
    for what, names in (("lacks", wanted.keys() - weights.keys()), ("has unexpected", weights.keys() - wanted.keys())):
        if names:
            raise InputError(f"{path} {what} {', '.join(sorted(names)[:3])}; nothing was loaded", REMEDY)
    require_finite(weights, str(path), REMEDY)
    wrong = [name for name, parameter in wanted.items() if not _fits(parameter, weights[name])]
    if wrong:
        shape = tuple(weights[wrong[0]].shape)
        raise InputError(f"{path}: {wrong[0]} is {shape}, which does not fit this model", REMEDY)
    encoder.load_state_dict(weights, strict=False)


def _is_new(module: str, name: str) -> bool:
    return module == "swin" and not swin_names(name)


def _modern(name: str) -> str:
    """Return the current name of a norm's weight or bias; older files have gamma and beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _load(module: nn.Module, names: dict[str, list[str]], weights: dict[str, Tensor], path: Path | str) -> None:
    wanted = [official for officials in names.values() for official in officials]
    missing = [official for official in wanted if official not in weights]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing[:3])}; nothing was loaded", REMEDY)
    state = {name: torch.cat([weights[official] for official in many]) for name, many in names.items() if many}
    require_finite(state, str(path), REMEDY)
    wrong = [
        name for name, parameter in module.named_parameters() if name in state and not _fits(parameter, state[name])
    ]
    if wrong:
        first = names[wrong[0]][0]
        raise InputError(f"{path}: {first} is {tuple(weights[first].shape)}, which does not fit this model", REMEDY)
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)


def _fits(parameter: Tensor, found: Tensor) -> bool:
    return parameter.shape == found.shape
