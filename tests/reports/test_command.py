"""The command line, the comparison of runs, and publishing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import synthetic_runs
from matplotlib.figure import Figure

from pipeline.files import staged_folder
from pipeline.records import RecordError, record_path, samples_path
from reports.__main__ import main
from reports.load import load_runs
from reports.run_diff import compare_runs, flatten
from reports.style import save, save_pixels
from sharedris.errors import InputError
from tests.full_disk import no_large_files


def test_one_table_is_printed_and_written(runs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert (
        main(["VII-a", "--runs", str(runs_root), "--out", str(tmp_path), "--data", "toyplus_unc", "--split", "val"])
        == 0
    )
    printed = capsys.readouterr().out
    assert "Table VII(a)" in printed
    assert "68.42" in printed
    assert "all background" in printed
    for suffix in ("md", "tex", "csv", "html"):
        # CSV and LaTeX tables have their units in the headings.
        shown = {"csv": "8.01,", "tex": "& 8.01 &"}.get(suffix, "8.01M")
        assert shown in (tmp_path / "tables" / f"VII-a.{suffix}").read_text(encoding="utf-8")
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_the_whole_report_is_made_despite_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    synthetic_runs.write_runs(root)
    synthetic_runs.write_costs(root)
    pd.DataFrame({"schema_version": [99]}).to_parquet(record_path(root, "old"))
    samples_path(root, "tiny-fake-s0-001001", "toyplus_unc/val").unlink()
    assert main(["all", "--runs", str(root), "--prepared", str(tmp_path)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert any("schema version" in line for line in errors)
    assert any("without its samples" in line for line in errors)
    assert all(line.startswith("problem: ") for line in errors)
    assert len(set(errors)) == len(errors)
    html = (root / "report" / "index.html").read_text(encoding="utf-8")
    assert "schema version" in html
    assert "58." in html


def test_no_records_at_all_is_said_and_the_published_tables_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["all", "--runs", str(tmp_path / "nothing")]) == 1
    assert "no records in" in capsys.readouterr().err
    assert "77.76" in (tmp_path / "nothing" / "report" / "tables" / "I.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["XI"], ["VII-c"], ["compare", "one"], ["compare", "a", "b"]])
def test_wrong_names_are_one_line_and_exit_2(
    arguments: list[str], runs_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--runs", str(runs_root)]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("sharedris report ")


def test_comparison_shows_only_what_differs(runs_root: Path) -> None:
    runs = load_runs(runs_root)
    table = (
        compare_runs(runs, ["001000", "tiny-fake-s0-001003"])
        if _is_unique(runs, "001000")
        else compare_runs(runs, ["tiny-fake-s0-001000", "tiny-fake-s0-001003"])
    )
    names = [row.cells[0].text for row in table.rows if row.kind != "section"]
    assert "variant" in names
    assert "seed" not in names
    assert "epochs" not in names
    scores = next(row for row in table.rows if row.cells[0].text == "mIoU")
    assert sorted(cell.rank for cell in scores.cells[1:]) == [1, 2]


def _is_unique(runs: object, ending: str) -> bool:
    return sum(run.endswith(ending) for run in runs.run_ids) == 1  # type: ignore[attr-defined]


def test_ambiguous_and_unknown_runs_are_refused(runs_root: Path) -> None:
    runs = load_runs(runs_root)
    with pytest.raises(RecordError, match="fits 2 runs"):
        compare_runs(runs, ["001000", "tiny-fake-s0-001003"])
    with pytest.raises(RecordError, match="is no run"):
        compare_runs(runs, ["tiny-fake-s0-001000", "xyz"])
    with pytest.raises(RecordError, match="twice"):
        compare_runs(runs, ["tiny-fake-s0-001000", "tiny-fake-s0-001000"])


def test_settings_are_flattened() -> None:
    assert flatten({"a": {"b": [1, 2], "c": None}, "d": 3}) == {"a.b": "[1, 2]", "a.c": "null", "d": "3"}


def test_reports_need_no_torch_no_ray_and_no_mlflow() -> None:
    code = (
        "import sys, reports.__main__, reports.build, reports.figures\n"
        "print([name for name in ('torch', 'ray', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("what", ["all", "VII-a"])
def test_a_folder_that_cannot_be_written_is_found_before_the_work(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.cli.tables.build_tables", lambda *_, **__: pytest.fail("the work began"))
    assert main([what, "--runs", str(tmp_path), "--out", "/proc/none/here"]) == 2
    assert "/proc/none/here cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("what", [["VII-a"], ["compare", "tiny-fake-s0-001000", "tiny-fake-s0-001003"]])
def test_a_full_disk_is_one_line_and_the_report_before_is_still_there(
    what: list[str], runs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*what, "--runs", str(runs_root), "--out", str(tmp_path), "--data", "toyplus_unc", "--split", "val"]
    assert main(command) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) >= 5
    for path in before:
        path.write_bytes(b"before")
    with no_large_files(max(map(len, before.values())) - 1):
        assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    command_name = "compare" if what[0] == "compare" else "tables"
    assert any(
        line.startswith(f"sharedris report {command_name}: disk full: {path} could not be written") for path in before
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == dict.fromkeys(
        before, b"before"
    )
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("draw", [save, save_pixels])
def test_a_picture_that_finds_a_full_disk_is_named(draw: object, tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match=f"disk full: {tmp_path}/figures/x")
    with no_large_files(100), refused, staged_folder(tmp_path) as place:
        draw(Figure(figsize=(1, 1)), place / "figures", "x")  # type: ignore[operator]
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_page_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(InputError, match="index.html cannot be written"), staged_folder(tmp_path) as place:
        (place / "index.html").write_text("page")
