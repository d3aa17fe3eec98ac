"""What every command does with a reader that is gone, a narrow encoding, and a disk that fills up, in this process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.cli import import_dual
from pipeline.cli.guarded import run_guarded
from pipeline.cli.main import main
from pipeline.cli.weights_file import write_weights
from pipeline.pretrained_ids import DUAL_VOCABULARY
from reports.__main__ import main as reports
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import save_model
from sweeps.__main__ import main as sweeps
from tests.full_disk import no_large_files

COMMANDS: dict[str, Callable[[Path, Path], int]] = {
    "runs": lambda runs, _: main(["runs", "--runs", str(runs)]),
    "check": lambda _, prepared: main(["data", "check", "toyplus_unc", "--prepared", str(prepared)]),
    "sweeps status": lambda runs, prepared: sweeps(
        ["status", "fpn", "--data", "toyplus_unc", "--prepared", str(prepared), "--runs", str(runs)]
    ),
    "reports": lambda runs, _: reports(["I", "--runs", str(runs)]),
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Runs with one that has not begun, whose name not every encoding has."""
    (tmp_path / "runs" / "state" / "größe").mkdir(parents=True)
    return tmp_path / "runs"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_is_gone_is_told_by_the_exit_code(
    command: str, runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = COMMANDS[command](runs, toy_root)  # what it is when all is read
    for loses in (True, False):
        reading, writing = os.pipe()
        if loses:
            os.close(reading)
        with os.fdopen(writing, "w", encoding="utf-8") as gone:
            monkeypatch.setattr(sys, "stdout", gone)
            assert COMMANDS[command](runs, toy_root) == (code or 141 if loses else code)
        if not loses:
            os.close(reading)


@pytest.mark.parametrize("command", COMMANDS)
def test_letters_that_the_encoding_lacks_are_escaped(
    command: str, runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = COMMANDS[command](runs, toy_root)
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")  # as with LC_ALL=C and without UTF-8 mode
    monkeypatch.setattr(sys, "stdout", narrow)
    assert COMMANDS[command](runs, toy_root) == code
    narrow.flush()
    said = narrow.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert len(said) > 20
    assert command != "runs" or r"gr\xf6\xdfe" in said


def test_imported_weights_leave_nothing_on_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "beit3.safetensors"
    with no_large_files():
        code = run_guarded(lambda: write_weights({"a": torch.zeros(100_000)}, path) or 0, name="import-beit3")
    assert code == 2
    assert "import-beit3: disk full: " in capsys.readouterr().err
    assert not list(path.parent.iterdir())


def test_imported_dual_weights_leave_nothing_on_a_full_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Swin", "Bert", "load_swin", "load_bert", "for_our_pixels", "WordPieceTokenizer", "require_fit"):
        monkeypatch.setattr(import_dual, name, lambda *_: None)
    monkeypatch.setattr(import_dual, "to_joined", lambda *_: {"a": torch.zeros(100_000)})
    files = {"swin": Path("swin"), "bert": Path("bert"), "vocabulary": tmp_path / DUAL_VOCABULARY}
    with no_large_files():
        code = run_guarded(
            lambda: import_dual.run(import_dual.Options(out=tmp_path / "dual", **files)), name="import-dual"
        )
    assert code == 2
    assert "import-dual: disk full: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_exported_model_leaves_nothing_on_a_full_disk(micro_model: ComparedModelConfig, tmp_path: Path) -> None:
    model = build_model(micro_model)
    with no_large_files(), pytest.raises(OSError, match="File too large") as refused:
        save_model(tmp_path / "m", model, micro_model, tokenizer_path=tmp_path / "t", threshold=0.5, run_id="r")
    assert refused.value.filename.endswith("model.safetensors")
    assert not list(tmp_path.iterdir())
