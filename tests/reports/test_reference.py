"""Reference points: made from three seeds, checked against equal, worse, missing and faster runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic_runs
from synthetic_runs import FULL, NO_FPN, TWO

from pipeline.cli.main import main as sharedris
from pipeline.records import HISTORY_SCHEMA, history_path, list_runs, read_table, write_table
from reports.cli import reference_make_options
from reports.load import load_runs
from reports.reference import FEWEST_SEEDS, FILE, check_runs, measure_expected, read_expected


def test_the_module_is_a_door_to_the_command() -> None:
    words = [sys.executable, "-m", "reports.reference", "check", "--made-up"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("sharedris report reference check: ")


def test_the_command_asks_for_as_many_seeds_as_the_room() -> None:
    assert reference_make_options.Options(out=Path()).fewest_seeds == FEWEST_SEEDS


def main(words: list[str]) -> int:
    return sharedris(["report", "reference", *words])


ROWS = {NO_FPN: -0.1, TWO: 0.0, FULL: 0.1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A runs folder of three rows and three seeds, and the reference made of it. Nobody writes into them."""
    root = tmp_path_factory.mktemp("made")
    synthetic_runs.write_runs(root / "runs", ROWS, seeds=(0, 1, 2), samples=120)
    assert main(["make", "--runs", str(root / "runs"), "--out", str(root / "reference")]) == 0
    return root / "runs", root / "reference"


def test_a_reference_is_a_runs_folder_with_what_is_expected(made: tuple[Path, Path]) -> None:
    runs, reference = made
    assert list_runs(reference) == list_runs(runs)
    expected = read_expected(reference)
    assert expected == measure_expected(load_runs(runs))
    records = load_runs(reference).records
    mine = records[(records["variant"] == FULL) & (records["protocol"] == "original")]
    assert expected.rows[FULL].mean["miou"] == pytest.approx(mine["miou"].mean())
    assert expected.rows[FULL].deviation["oiou"] == pytest.approx(mine["oiou"].std())
    assert (expected.rows[FULL].seeds, len(expected.rows[FULL].losses)) == ((0, 1, 2), 5)
    assert expected.commits == ("0123456789ab",)
    assert expected.machines == ("fake, GPU: none",)


def test_the_runs_of_a_reference_pass(made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(made[1]), "--runs", str(made[0])]) == 0
    assert capsys.readouterr().out.count("ok  ") == 3


def test_a_worse_and_a_missing_row_fail(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic_runs.write_runs(tmp_path, {NO_FPN: -0.1, TWO: -0.2}, samples=120)
    assert main(["check", str(made[1]), "--runs", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["ok  ", "FAIL", "FAIL"]
    assert "expected" in lines[1]
    assert "no record" in lines[2]


def test_another_training_of_the_same_code_passes(made: tuple[Path, Path], tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path, ROWS, seeds=(7,), samples=120)
    assert check_runs(read_expected(made[1]), load_runs(tmp_path)).failures == 0


def test_a_row_that_converges_faster_is_named(made: tuple[Path, Path], tmp_path: Path) -> None:
    (first, *_) = synthetic_runs.write_runs(tmp_path, ROWS, samples=120)
    history = read_table(history_path(tmp_path, first), HISTORY_SCHEMA)
    faster = history.assign(loss=history["loss"] / 2).drop(columns="schema_version")
    write_table(history_path(tmp_path, first), faster, HISTORY_SCHEMA)
    checked = check_runs(read_expected(made[1]), load_runs(tmp_path))
    assert checked.failures == 0
    assert [line for line in checked.lines if "faster" in line] == [
        line for line in checked.lines if line.strip().startswith("no FPN converges faster: the loss of epoch 5")
    ]
    assert any("faster" in line for line in checked.lines)


@pytest.mark.parametrize(("seeds", "words"), [((0, 1), "not 3"), ((), "no records")])
def test_too_few_seeds_are_refused(
    seeds: tuple[int, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if seeds:
        synthetic_runs.write_runs(tmp_path, ROWS, seeds=seeds)
    assert main(["make", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_recipe_a_damaged_file_and_a_full_folder_are_refused(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic_runs.write_runs(tmp_path / "other", ROWS, recipe="cafe00000002")
    assert main(["check", str(made[1]), "--runs", str(tmp_path / "other")]) == 2
    assert "cafe00000002" in capsys.readouterr().err
    (tmp_path / "bad").mkdir()
    for text in ("", "[]", '{"schema": 9}', '{"schema": 1}', json.dumps({"schema": 1, "rows": {"a": 3}})):
        (tmp_path / "bad" / FILE).write_text(text)
        assert main(["check", str(tmp_path / "bad"), "--runs", str(made[0])]) == 2
    assert main(["check", str(tmp_path / "none"), "--runs", str(made[0])]) == 2
    capsys.readouterr()
    assert main(["make", "--runs", str(made[0]), "--out", str(tmp_path / "other")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert len(list_runs(tmp_path / "other")) == len(ROWS), "what is there stays"
