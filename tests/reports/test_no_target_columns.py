"""Scores of samples without a target are columns of a table where a record has them, both accuracies together."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.records import RECORD_SCHEMA, read_table, record_path, write_table
from reports.build import build_tables
from reports.layout import Table
from reports.run_selection import Wanted
from sweeps.no_target import ROWS
from tests.reports import synthetic_runs
from tests.reports.test_sweep_tables import write_rows

SCORES = {"n_acc": 0.25, "t_acc": 0.75, "giou": 0.5, "ciou": 0.375}


def with_scores(root: Path) -> None:
    for path in (root / "records").glob("*.parquet"):
        rows = read_table(record_path(root, path.stem), RECORD_SCHEMA).assign(**SCORES)
        write_table(path, rows.drop(columns="schema_version"), RECORD_SCHEMA)


def table_of(root: Path, name: str) -> Table:
    report = build_tables(root, [name], Wanted(), statistics=False)
    assert not report.problems
    return report.tables[0]


def shown(table: Table) -> dict[tuple[str, str], list[str]]:
    wanted = ("N-acc", "T-acc", "gIoU", "cIoU")
    return {
        (column.group, column.heading): [row.cells[place].text for row in table.rows]
        for place, column in enumerate(table.columns)
        if column.heading in wanted or column.group in wanted
    }


@pytest.mark.parametrize("scored", [False, True])
def test_the_sweep_has_a_row_of_ours_and_shows_what_its_records_hold(scored: bool, tmp_path: Path) -> None:
    write_rows(tmp_path, ROWS)
    if scored:
        with_scores(tmp_path)
    table = table_of(tmp_path, "no_target")
    assert [row.cells[0].text for row in table.rows] == ["No head", "No-target head (ours)"]
    assert shown(table) == (
        {
            ("Accuracy", "N-acc"): ["25.00", "25.00"],
            ("Accuracy", "T-acc"): ["75.00", "75.00"],
            ("", "gIoU"): ["50.00", "50.00"],
            ("", "cIoU"): ["37.50", "37.50"],
        }
        if scored
        else {}
    )


def test_a_table_of_the_paper_gets_the_columns_too(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path)
    assert shown(table_of(tmp_path, "VII-a")) == {}
    with_scores(tmp_path)
    columns = shown(table_of(tmp_path, "VII-a"))
    assert list(columns) == [("Accuracy", "N-acc"), ("Accuracy", "T-acc"), ("gIoU", "here"), ("cIoU", "here")]
    assert columns["Accuracy", "N-acc"] == ["25.00"] * 4
