"""A trained model as a folder: `model.safetensors`, `config.json`, `tokenizer.model`.

Weights are in a format that cannot contain code. The folder is written atomically.
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import Precision, from_dict, to_dict
from sharedris.cpu_kernels import use_cpu_kernels
from sharedris.errors import InputError
from sharedris.finite_weights import require_finite
from sharedris.model import SharedRis

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
        save_file(weights, partial / WEIGHTS)
        values = {"model": to_dict(config), "threshold": threshold, "run_id": run_id, "precision": precision}
        (partial / CONFIG).write_text(json.dumps(values, indent=1) + "\n")
        shutil.copymode(partial / CONFIG, partial / WEIGHTS)  # safetensors writes for the owner only
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
    model = build_model(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise InputError(f"{folder / WEIGHTS} does not fit its config: {reason}", REMEDY) from None
    require_finite(weights, str(folder / WEIGHTS), "Train the model again, or give another run")
    model.to(device).eval()
    use_cpu_kernels(model)
    return SavedModel(model, config, folder / TOKENIZER, *values)


def _read_config(path: Path) -> tuple[ComparedModelConfig, tuple[float, str, str]]:
    """Return the model's config, and its threshold, run id and precision (fp32 where an old folder has none)."""
    try:
        values = json.loads(path.read_text())
        precision = values.get("precision", "fp32")
        if precision not in get_args(Precision):
            raise ValueError(f"unknown precision {precision!r}")
        return from_dict(ComparedModelConfig, values["model"]), (
            float(values["threshold"]),
            str(values["run_id"]),
            precision,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not the config of a model: {error}", REMEDY) from None
