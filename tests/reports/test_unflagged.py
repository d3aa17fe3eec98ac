"""Scores on expressions that reviewers did not flag stand in columns of their own, with their counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import FULL

from pipeline.data.readers.quality_flags import read_flags
from reports.__main__ import main
from reports.build import build_tables
from reports.load import load_runs
from reports.run_selection import Wanted


@pytest.fixture
def flags_file(tmp_path: Path) -> Path:
    """Every third sentence id is flagged, every fourth was not reviewed."""
    path = tmp_path / "reviewed.jsonl"
    lines = [{"sent_id": name, "flagged": name % 3 == 0} for name in range(60) if name % 4]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_columns_hold_the_scores_of_what_is_left(runs_root: Path, flags_file: Path) -> None:
    flags = read_flags([flags_file])
    plain = build_tables(runs_root, ["VII-a"], Wanted(), statistics=False).built[0].table
    report = build_tables(runs_root, ["VII-a"], Wanted(), statistics=False, flags=flags)
    table = report.built[0].table
    assert not report.problems
    before = len(plain.columns)
    assert table.columns[:before] == plain.columns
    assert [row.cells[:before] for row in table.rows] == [row.cells for row in plain.rows]
    assert [column.group for column in table.columns[before:]] == ["oIoU not flagged", "mIoU not flagged"]
    runs = load_runs(runs_root)
    run_ids = runs.records.loc[runs.records["variant"] == FULL, "run_id"].unique()
    expected = []
    for run_id in run_ids:
        samples = runs.samples(run_id, "toyplus_unc/val", ["sent_id", "intersection_original", "union_original"])
        left = samples[(samples["sent_id"] % 3 != 0) | (samples["sent_id"] % 4 == 0)]
        expected.append(100 * left["intersection_original"].sum() / left["union_original"].sum())
    oiou = table.rows[-1].cells[before]
    assert oiou.text == f"{np.mean(expected):.2f} ± {np.std(expected, ddof=1):.2f}"
    assert oiou.run_ids == tuple(run_ids)
    flagged = sum(name % 3 == 0 and name % 4 != 0 for name in range(60))
    assert f"on {60 - flagged} expressions of 60 ({flagged} are flagged, 45 were reviewed)" in table.caption
    assert "by reviewed.jsonl" in table.caption
    assert {row.cells[before].rank for row in table.rows} == {0}, "ranks are tested on all samples: no bold here"


def test_the_command_takes_flags_and_leaves_the_runs_alone(
    runs_root: Path, flags_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    shutil.copytree(runs_root, root)
    before = {path: path.read_bytes() for path in root.rglob("*.parquet")}
    words = ["VII-a", "--runs", str(root), "--out", str(tmp_path / "out"), "--flags"]
    assert main([*words, str(flags_file)]) == 0
    assert "not flagged" in (tmp_path / "out" / "tables" / "VII-a.csv").read_text()
    assert {path: path.read_bytes() for path in root.rglob("*.parquet")} == before
    other = tmp_path / "other.jsonl"
    other.write_text('{"image_id": 1, "sentence": "nothing here", "flagged": true}\n')
    capsys.readouterr()
    assert main([*words, str(other)]) == 1
    assert "names no expression of toyplus_unc/val" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "absent.jsonl")]) == 2
