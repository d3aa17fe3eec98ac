"""`sharedris evaluators`: the tables, the scores of named evaluators, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cli.main import main
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS
from pipeline.evaluation.public_evaluators.tables import who_measures_what
from pipeline.records import SAMPLE_SCHEMA, write_table

COUNTS = {"original": ([1, 3], [2, 4], [2, 4]), "input": ([0, 0], [2, 4], [2, 4])}


def write_rows(path: Path, *protocols: str) -> str:
    """Write two samples with counts of these protocols; the others are null, as for external masks."""
    rows = pd.DataFrame({name: [None, None] for name in SAMPLE_SCHEMA.names if name != "schema_version"}, dtype=object)
    rows = rows.assign(index=[0, 1], image_id=[1, 1], ref_id=[1, 2])
    for protocol in protocols:
        both, either, target = COUNTS[protocol]
        rows[f"intersection_{protocol}"], rows[f"union_{protocol}"] = both, either
        rows[f"target_area_{protocol}"] = target
    write_table(path, rows, SAMPLE_SCHEMA)
    return str(path)


def test_without_a_file_it_prints_who_measures_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "evaluators"]) == 0
    assert capsys.readouterr().out == f"{who_measures_what()}\n"


def test_the_same_masks_by_every_evaluator_that_can_score_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evaluators that need samples without a target are left out."""
    assert main(["score", "evaluators", write_rows(tmp_path / "rows.parquet", "original", "input")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + sum(each.no_target != "needed" for each in PUBLIC_EVALUATORS.values())
    assert "| `lavt` | 62.50 | 66.67 | 100.00 | 50.00 | 0.00 | - |" in lines
    assert "| `cris` | 62.50 | - | 50.00 | 50.00 | 0.00 | - |" in lines
    assert "| `evf_sam` | 62.50 | 66.67 | - | - | - | - |" in lines


def test_named_evaluators_and_other_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Masks of another system that were compared at the input size have no others, so they are the default then."""
    both, only_input = (
        write_rows(tmp_path / "both.parquet", "original", "input"),
        write_rows(tmp_path / "input.parquet", "input"),
    )
    for options in ([both, "--masks", "input"], [only_input]):
        assert main(["score", "evaluators", *options, "--name", "lavt", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["lavt"]["Mean IoU"] == 0.0
    assert main(["score", "evaluators", both, "--name", "rela"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("rela (ReLA, percent; accuracies 0 to 1): gIoU 62.5000, cIoU 66.6667, T_acc 0.0000")
    assert "known fault: both accuracies are 0 where every sample has a target" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["ROWS", "--name", "gsva_grs"], "unknown public evaluator 'gsva_grs', did you mean 'gsva_gres'?"),
        (
            ["ROWS", "--name", "gsva_gres"],
            "gsva_gres scores samples without a target, and this set has none. Score",
        ),
        (["ROWS", "--masks", "lavt_masks"], "has no masks of 'lavt_masks'. It has those of: input"),
        (["--json"], "--name, --masks and --json go with a per-sample file"),
        (["missing.parquet"], "missing.parquet"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "rows.parquet", "input")
    assert main(["score", "evaluators", *(rows if option == "ROWS" else option for option in options)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
