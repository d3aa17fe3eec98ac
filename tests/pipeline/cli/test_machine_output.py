"""`--json`: one object on standard output, everything else on standard error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.commands import COMMANDS
from pipeline.cli.machine_output import add_result, only_json, print_json
from pipeline.cli.main import main
from pipeline.cli.parsing import options_module
from pipeline.run_marks import read_marks
from tests.reports import synthetic_runs


def answer(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_every_command_takes_it() -> None:
    for path in COMMANDS:
        assert "json" in options_module(path).Options.__dataclass_fields__


def test_commands_answer_by_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic_runs.write_runs(tmp_path / "runs")
    where = ["--runs", str(tmp_path / "runs")]
    runs = answer(["runs", *where], capsys)
    run_id = runs[0]["run_id"]
    assert runs[0]["scores"]
    assert answer(["runs", "tag", run_id, "good", *where], capsys) == {"run_id": run_id, "tags": ["good"]}
    assert answer(["runs", "archive", run_id, *where], capsys) == {"run_id": run_id, "archived": True}
    assert read_marks(tmp_path / "runs", run_id).archived
    tables = answer(["report", "VII-a", "--data", "toyplus_unc", "--split", "val", *where], capsys)
    assert "VII-a" in tables["tables"]
    assert tables["problems"] == []
    made = answer(
        ["data", "synthesize", "--data", "toy_unc", "--expressions", "40", "--out", str(tmp_path / "o")], capsys
    )
    assert made["expressions"]["train"] == 40
    removed = answer(["runs", "rm", run_id, "--yes", *where], capsys)
    assert all(not (tmp_path / "runs" / name).exists() for name in removed["removed"])


def test_without_it_nothing_is_collected(capsys: pytest.CaptureFixture[str]) -> None:
    with only_json(False):
        add_result(left="over")
    with only_json(True):
        print("a line")
        add_result(number=float("nan"), place=Path("a"))
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"number": None, "place": "a"}
    assert printed.err == "a line\n"
    print_json([1])
    assert json.loads(capsys.readouterr().out) == [1]
