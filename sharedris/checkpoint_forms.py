"""Read the tensors of a checkpoint in the forms that people have them, without running what a file names.

Trainers wrap the weights in keys (`model`, `module`, `state_dict`), wrappers of PyTorch put prefixes before the names
(`module.`, `_orig_mod.`), and training scripts store their options as an `argparse.Namespace` beside the weights.
"""

from __future__ import annotations

import argparse
import contextlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sharedris.errors import InputError
from sharedris.regular_file import open_regular

WRAPPERS = ("model", "module", "state_dict", "model_state_dict")
"""Keys below which trainers put the weights: BEiT-3's own, DeepSpeed's, Lightning's."""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and Lightning put before every name."""

_PLAIN_OBJECTS = ("argparse.Namespace", "deepspeed.", "omegaconf.", "pathlib.")
"""Objects that trainers store beside the weights; each is read as an `_Unread`, and its class is never imported."""

_MOST_NESTING = 4


class _Unread:
    """Stands for an object of another program: takes any arguments and any state, and does nothing."""

    def __init__(self, *_arguments: object, **_options: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass


def read_tensors(path: Path, *, prefix: str = "", remedy: str) -> dict[str, Tensor]:
    """Return the tensors of a `.pth` or `.safetensors` file by their names in the model.

    Args:
        path: the checkpoint.
        prefix: a prefix that names may have as well, `beit3.`.
        remedy: what to do about a file that cannot be read.

    Raises:
        InputError: when the file is missing, is not a checkpoint of tensors, names code, or has a name twice.
    """
    open_regular(path).close()
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _read_pth(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", remedy) from None
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not a checkpoint of plain tensors: {reason}", remedy) from None
    tensors = _unwrapped(content)
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise InputError(f"{path} has no dictionary of tensors", remedy)
    return _plain_names(path, tensors, prefix, remedy)


def _read_pth(path: Path) -> Any:
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore", UserWarning)  # about the pickle protocol; unreadable files raise an error
        stack.enter_context(torch.serialization.safe_globals(_stand_ins(path)))
        return torch.load(path, "cpu", weights_only=True)


def _stand_ins(path: Path) -> list[Any]:
    """Return a stand-in for each class of `_PLAIN_OBJECTS` that the file names; torch refuses all other names."""
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError):
        # Files from before torch 1.6 are not listed; options of training scripts are what they hold beside weights.
        named = [f"{argparse.__name__}.{argparse.Namespace.__name__}"]
    return [(_Unread, name) for name in named if name.startswith(_PLAIN_OBJECTS)]


def _unwrapped(content: Any) -> Mapping[Any, Any]:
    for _ in range(_MOST_NESTING):
        if not isinstance(content, Mapping):
            return {}
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content
        content = inner
    return {}


def _plain_names(path: Path, tensors: Mapping[Any, Tensor], prefix: str, remedy: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = _plain_name(str(name), prefix)
        if plain in found:
            raise InputError(f"{path} has the parameter {plain!r} with and without a prefix", remedy)
        found[plain] = tensor
    return found


def _plain_name(name: str, prefix: str) -> str:
    """Return the name without the prefixes, in whatever order wrappers were put around each other."""
    while cut := next((each for each in (*PREFIXES, prefix) if each and name.startswith(each)), ""):
        name = name.removeprefix(cut)
    return name
