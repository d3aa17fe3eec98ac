"""A trained model as a folder: `model.safetensors`, `config.json`, `tokenizer.model`.

Weights are in a format that cannot contain code. The folder is written atomically.
"""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import Precision, from_dict, to_dict
from sharedris.config_values import checked_value
from sharedris.errors import InputError
from sharedris.finite_weights import require_finite
from sharedris.kernels import use_kernels
from sharedris.model import SharedRis
from sharedris.plugins import describe_plugins
from sharedris.safetensors_file import write_safetensors

log = logging.getLogger(__name__)
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.model"
REMEDY = "Give the folder that `sharedris train` exported: runs/models/RUN"


class SavedModel(NamedTuple):
    """The content of a model folder."""

    model: SharedRis
    config: ComparedModelConfig
    tokenizer_path: Path
    threshold: float
    run_id: str
    precision: str


def save_model(
    folder: Path,
    model: nn.Module,
    config: ComparedModelConfig,
    tokenizer_path: Path,
    threshold: float,
    run_id: str,
    precision: str = "fp32",
    plugins: Mapping[str, str] | None = None,
) -> None:
    """Write a model folder atomically, replacing an existing one.

    Args:
        folder: the folder to write; its parents are created.
        model: a `SharedRis`; give the wrapped module, not the wrapper of DDP or compile.
        config: the config that it was built from.
        tokenizer_path: sentencepiece model, copied.
        threshold: probability above which a pixel is foreground.
        run_id: name of the run, stored in `config.json`.
        precision: of the forward passes that scored it on a GPU, stored there too.
        plugins: name -> SHA-256 of those that hold modules of the model, stored there too.

    Raises:
        InputError: when a weight is NaN or infinite.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir(parents=True)
    try:
        # Copies: safetensors refuses tensors that share memory ("No FPN" projects both modalities by one layer).
        weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
        require_finite(weights, f"the model of {run_id}", "Train it again with a lower learning rate, or in fp32")
        write_safetensors(weights, partial / WEIGHTS)
        values = {"model": to_dict(config), "threshold": threshold, "run_id": run_id, "precision": precision}
        if plugins:
            values["plugins"] = dict(plugins)
        (partial / CONFIG).write_text(json.dumps(values, indent=1) + "\n")
        shutil.copyfile(tokenizer_path, partial / TOKENIZER)
        _replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace_folder(new: Path, folder: Path) -> None:
    """Move the new folder to its place; a folder cannot be renamed over one with files in it."""
    if folder.exists():
        old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old)
    else:
        new.rename(folder)


def load_model(folder: Path, device: str | torch.device = "cpu") -> SavedModel:
    """Read a model folder; the model is in evaluation mode.

    Raises:
        InputError: when a file is missing, damaged, does not fit the config, or holds NaN or infinite weights.
    """
    folder = Path(folder)
    for name in (WEIGHTS, CONFIG, TOKENIZER):
        if not (folder / name).is_file():
            raise InputError(f"{folder} has no {name}", REMEDY)
    config, values = _read_config(folder / CONFIG)
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder / WEIGHTS} cannot be read: {error}", REMEDY) from None
    _require_size(config, weights, folder)
    try:
        model = build_model(config)
    except (RuntimeError, MemoryError) as error:
        reason = (str(error).splitlines() or ["no memory"])[0]
        raise InputError(f"{folder / CONFIG} asks for a model that cannot be built: {reason}", REMEDY) from None
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise InputError(f"{folder / WEIGHTS} does not fit its config: {reason}", REMEDY) from None
    kinds = {name: tensor.is_floating_point() for name, tensor in model.state_dict().items()}
    changed = next((name for name, tensor in weights.items() if tensor.is_floating_point() != kinds[name]), None)
    if changed is not None:  # torch would convert them without a word
        raise InputError(f"{folder / WEIGHTS} holds {changed} as {weights[changed].dtype}", REMEDY)
    require_finite(weights, str(folder / WEIGHTS), "Train the model again, or give another run")
    model.to(device).eval()
    use_kernels(model)
    return SavedModel(model, config, folder / TOKENIZER, *values)


def _require_size(config: ComparedModelConfig, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Refuse a config that asks for far more weights than there are, before they take the memory of the machine."""
    try:
        with torch.device("meta"):
            wanted = sum(tensor.numel() for tensor in build_model(config).state_dict().values())
    except Exception:  # a module of a plugin that reads values; its size is not known
        return
    held = sum(tensor.numel() for tensor in weights.values())
    if wanted > 2 * held:
        reason = f"the config asks for {wanted:,} numbers, the file holds {held:,}"
        raise InputError(f"{folder / WEIGHTS} does not fit its config: {reason}", REMEDY)


def _read_config(path: Path) -> tuple[ComparedModelConfig, tuple[float, str, str]]:
    """Return the model's config, and its threshold, run id and precision (fp32 where an old folder has none).

    Plugins are named and never imported here: a model folder runs no code.
    """
    plugins = ""
    try:
        values = json.loads(path.read_text())
        plugins = describe_plugins(values.get("plugins", {}))
        precision = values.get("precision", "fp32")
        if precision not in get_args(Precision):
            raise ValueError(f"unknown precision {precision!r}")
        config = from_dict(ComparedModelConfig, values["model"])
        threshold = checked_value(float, values["threshold"], "threshold")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold {threshold} is no probability between 0 and 1")
        rest = (float(threshold), checked_value(str, values["run_id"], "run_id"), precision)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        remedy = f"The model {plugins}: give --plugin with its file" if plugins else REMEDY
        raise InputError(f"{path} is not the config of a model: {error}", remedy) from None
    if plugins:
        log.warning("%s: the model %s", path, plugins)
    return config, rest
