"""`sharedris export` writes a file that is checked, measured and scored, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor, nn

from pipeline.cli.main import main
from pipeline.evaluation.split_samples import split_of_model
from pipeline.model_export.comparison import compare
from pipeline.model_export.export import ExportRequest, export_model
from pipeline.model_export.samples import batches_of_split, random_batches
from sharedris.checkpoint import SavedModel
from sharedris.errors import InputError
from sharedris.export.graph import PixelsToMask
from tests.conftest import TOY


class Shifted(nn.Module):
    """A model whose logits are wrong by a constant."""

    def __init__(self, graph: nn.Module, shift: float) -> None:
        super().__init__()
        self.graph, self.shift = graph, shift

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return shifted logits."""
        return (self.graph(*inputs)[0] + self.shift,)


def test_a_comparison_counts_what_differs(saved: SavedModel, toy_root: Path) -> None:
    model = PixelsToMask(saved.model)
    dataset = split_of_model(str(toy_root), f"{TOY}/val", saved)
    same = compare(model, model, batches_of_split(dataset, 6), saved.threshold)
    assert same.passes
    assert (same.samples, same.equal_masks, same.different_pixels, same.logit_difference) == (6, 6, 0, 0.0)
    wrong = compare(model, Shifted(model, 9.0), random_batches(saved, 3), 0.6)
    assert not wrong.passes
    assert wrong.logit_difference == pytest.approx(9.0)
    assert wrong.equal_masks == 0
    assert wrong.different_pixels == wrong.pixels
    assert not compare(model, Shifted(model, float("nan")), random_batches(saved, 1), 0.6).passes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "onnx", "--out", "m.pt2"), "does not end in .onnx"),
        (("--format", "torch-export", "--out", "m.pt2", "--int8"), "8 bits are of onnxruntime"),
        (("--format", "onnx", "--out", "m.onnx", "--int8"), "Name one: --split SET/SPLIT"),
        (("--format", "onnx", "--out", "m.onnx", "--split", "no_such/val"), "no_such"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(
    options: tuple[str, ...],
    words: str,
    saved: SavedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(saved.tokenizer_path.parent), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_not_left(
    saved: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.model_export.export.read_program", lambda path: Shifted(PixelsToMask(saved.model), 1))
    with pytest.raises(InputError, match="answers otherwise than the model"):
        export_model(saved, ExportRequest(path=tmp_path / "m.pt2", kind="torch-export", samples=2))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_prints_differences_sizes_speed_and_the_score_of_8_bits(
    saved: SavedModel, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = str(saved.tokenizer_path.parent), tmp_path / "m.onnx"
    words = ["export", model, "--format", "onnx", "--out", str(out), "--prepared", str(toy_root)]
    assert main([*words, "--split", f"{TOY}/val", "--int8", "--attention", "--samples", "5"]) == 0
    printed = capsys.readouterr().out
    assert "checked on 5 samples of toyplus_unc/val: largest difference of a logit" in printed
    assert "5 of 5 masks equal" in printed
    assert [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("|")][2:] == [
        "model (eager)",
        "onnx",
        "onnx, int8",
    ]
    assert out.exists()
    assert (tmp_path / "m.int8.onnx").exists()
    assert main(["export", model, "--format", "torch-export", "--out", str(tmp_path / "m.pt2")]) == 0
    assert "checked on 100 random inputs" in capsys.readouterr().out
