"""`predict` and `evaluate` on a model folder: words that are not read are counted, words that are none refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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
