"""`predict` and `evaluate` on a model folder: unknown words are counted, empty sentences and NaN refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.cli.main import main
from pipeline.data.prepared.manifest import load_manifest
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import save_model
from sharedris.sentencepiece_tokenizer import train_tokenizer

TOY = "toyplus_unc"


@pytest.fixture
def model(toy_root: Path, micro_model: ComparedModelConfig, tmp_path: Path) -> Path:
    """A model of the toy set with random weights."""
    torch.manual_seed(0)
    tokenizer = load_manifest(toy_root, TOY).tokenizer_path
    save_model(tmp_path / "model", build_model(micro_model), micro_model, tokenizer, 0.35, "run")
    return tmp_path / "model"


def predict(model: Path, *sentences: str) -> int:
    photo = model.parent / "photo.png"
    Image.fromarray(np.zeros((40, 70, 3), dtype=np.uint8)).save(photo)
    return main(["predict", str(photo), *sentences, "--run", str(model), "--out", str(model.parent / "o.png")])


def test_predict_counts_unknown_pieces(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(model, "the red circle", "The Red Circle", "red 犬") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "pieces unknown" in line]
    assert len(lines) == 2
    assert "('T', 'R', 'C'); in lower case 0: the model does not read them" in lines[0]
    assert "('犬')" in lines[1]


@pytest.mark.parametrize("sentence", ["", " ", "?!"])
def test_predict_refuses_a_sentence_without_words(
    sentence: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, "the red circle", sentence) == 2
    assert "has no words" in capsys.readouterr().err
    assert not (model.parent / "o.png").exists()


@pytest.mark.parametrize("known", [True, False])
def test_evaluate_counts_unknown_pieces(
    known: bool, model: Path, toy_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(model), f"{TOY}/val", "--prepared", str(toy_root), "--device", "cpu"]
    if not known:
        train_tokenizer(["ABC"], model / "tokenizer.model", 300)
    assert main(words) == 0
    out = capsys.readouterr().out
    assert (f"{TOY}/val: 0 of " in out) is known
    assert " pieces unknown" in out
    assert main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert set(json.loads(captured.out)) == {"paper", "original", "input"}
    assert " pieces unknown" in captured.err


def poison(model: Path, value: float) -> str:
    """Set one number of the weights and return the name of its tensor."""
    path = model / "model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[len(weights) // 2]
    weights[name].view(-1)[0] = value
    save_file(weights, path)
    return name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(
    value: float, model: Path, toy_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = poison(model, value)
    assert predict(model, "the red circle") == 2
    assert main(["evaluate", str(model), f"{TOY}/val", "--prepared", str(toy_root), "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 2
    assert all(f"model.safetensors has NaN or infinite weights in {name}" in line for line in lines)
    assert captured.out == ""
    assert not (model.parent / "o.png").exists()


def test_finite_weights_that_answer_nan_are_refused(
    model: Path, toy_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model / "model.safetensors"
    weights = load_file(path)
    save_file(
        {name: tensor.fill_(3e38) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}, path
    )
    assert predict(model, "the red circle") == 2
    assert "the model answers NaN for this image" in capsys.readouterr().err
    assert main(["evaluate", str(model), f"{TOY}/val", "--prepared", str(toy_root), "--device", "cpu"]) == 2
    assert f"the model answers NaN for {TOY}/val#0" in capsys.readouterr().err
