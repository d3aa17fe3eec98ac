"""Checkpoints are read as people have them: wrapped, prefixed, with other objects beside the weights, nothing run."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sharedris.beit3 import load_beit3
from sharedris.checkpoint_forms import read_tensors
from sharedris.encoder import Encoder
from sharedris.errors import InputError
from tests.sharedris.test_beit3 import SMALL, official

WEIGHTS = {"a.weight": torch.arange(3.0), "b": torch.ones(2, 2)}


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in WEIGHTS.items()}


FORMS: dict[str, Any] = {
    "plain": WEIGHTS,
    "model": {"model": WEIGHTS, "epoch": 3},
    "state_dict, as Lightning writes": {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.0"},
    "module, as DeepSpeed writes": {"module": WEIGHTS, "ds_config": {"zero": 1}, "lr_scheduler": None},
    "module. of DistributedDataParallel": {"model": prefixed("module.")},
    "_orig_mod. of torch.compile": prefixed("_orig_mod."),
    "both": {"model": prefixed("module._orig_mod.")},
    "both, the other way round": {"model": prefixed("_orig_mod.module.")},
    "official prefix inside": {"model": prefixed("module.beit3.")},
    "wrapped twice": {"module": {"model": WEIGHTS}},
    "options of a script": {"model": WEIGHTS, "args": argparse.Namespace(lr=1e-4, out=pathlib.PurePosixPath("x"))},
}


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before torch 1.6"])
def test_every_form_gives_the_same_tensors(form: str, is_zip: bool, tmp_path: Path) -> None:
    content = FORMS[form]
    if not is_zip and "args" in content:
        content = {**content, "args": argparse.Namespace(lr=1e-4)}  # other classes of old files cannot be listed
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    found = read_tensors(tmp_path / "w.pth", prefix="beit3.", remedy="none")
    assert list(found) == list(WEIGHTS)
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


def test_an_object_of_deepspeed_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("deepspeed.scaler")
    scaler = type("LossScaler", (), {"__module__": "deepspeed.scaler"})
    module.LossScaler = scaler  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deepspeed", types.ModuleType("deepspeed"))
    monkeypatch.setitem(sys.modules, "deepspeed.scaler", module)
    value = scaler()
    value.scale = 2.0
    torch.save({"module": WEIGHTS, "loss_scaler": value}, tmp_path / "w.pt")
    monkeypatch.delitem(sys.modules, "deepspeed.scaler")
    monkeypatch.delitem(sys.modules, "deepspeed")
    assert list(read_tensors(tmp_path / "w.pt", remedy="none")) == list(WEIGHTS)
    assert "deepspeed" not in sys.modules


class Attack:
    def __init__(self, call: Any, argument: str) -> None:
        self.call, self.argument = call, argument

    def __reduce__(self) -> Any:
        return self.call, (self.argument,)


@pytest.mark.parametrize("call", [os.mkdir, os.system, eval, pathlib.Path.mkdir], ids=lambda call: call.__name__)
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before torch 1.6"])
def test_code_beside_the_weights_is_refused_and_not_run(call: Any, is_zip: bool, tmp_path: Path) -> None:
    target = tmp_path / "made"
    argument = {"system": f"touch {target}", "eval": f"open({str(target)!r}, 'w')"}.get(call.__name__, str(target))
    content = {"model": WEIGHTS, "args": Attack(call, argument)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(InputError, match="not a checkpoint of plain tensors"):
        read_tensors(tmp_path / "w.pth", remedy="none")
    assert not target.exists()


def test_a_name_with_and_without_a_prefix_is_refused(tmp_path: Path) -> None:
    torch.save({**WEIGHTS, **prefixed("module.")}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="with and without a prefix"):
        read_tensors(tmp_path / "w.pth", remedy="none")


def test_wrapped_too_often_is_refused(tmp_path: Path) -> None:
    content: Any = WEIGHTS
    for _ in range(9):
        content = {"model": content}
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match="no dictionary of tensors"):
        read_tensors(tmp_path / "w.pth", remedy="none")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_pipe_is_refused_at_once(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="not a regular file"):
        read_tensors(tmp_path / name, remedy="none")


def test_a_fine_tuned_model_with_its_own_norm_is_loaded(tmp_path: Path) -> None:
    weights = {f"module.beit3.{name}": tensor for name, tensor in official().items()}
    weights |= {"module.fc_norm.weight": torch.ones(16), "module.head.weight": torch.ones(2, 16)}
    torch.save({"model": weights, "args": argparse.Namespace(model="x"), "epoch": 9}, tmp_path / "w.pth")
    report = load_beit3(Encoder(SMALL), tmp_path / "w.pth")
    assert report.ignored == ("fc_norm.weight", "head.weight")
    assert (report.missing, report.unexpected) == ((), ())
