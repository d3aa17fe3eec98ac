"""The first screen of the page: what it counts, and that every line leads to a row that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import synthetic_runs

from reports.__main__ import main
from reports.build import Report, build_tables
from reports.layout import Cell
from reports.overview import has_measured_rows, overview, rounds_to
from reports.paper import NUMERALS
from reports.run_selection import Wanted


@pytest.fixture(scope="module")
def report(runs_root: Path) -> Report:
    return build_tables(runs_root, list(NUMERALS), Wanted(), statistics=False)


def test_costs_round_at_the_decimals_that_the_paper_prints() -> None:
    assert rounds_to(Cell(text="3.81M", value=3.81), Cell(text="4M", value=4.0))
    assert not rounds_to(Cell(text="3.49M", value=3.49), Cell(text="4M", value=4.0))
    assert rounds_to(Cell(text="8.66M", value=8.664), Cell(text="8.66M", value=8.66))
    assert not rounds_to(Cell(text="8.67M", value=8.666), Cell(text="8.66M", value=8.66))
    assert not rounds_to(Cell(text=""), Cell(text="4M", value=4.0))


def test_the_first_screen_counts_cells_costs_hours_and_seeds(report: Report) -> None:
    found = overview(report.built, report.recipe.runs_of_methods.records)
    facts = {fact.label: fact.value for fact in found.facts}
    assert facts["cells of the ablations trained"].startswith("4 of ")
    measured = len(found.reproduces) + len([line for line in found.differs if re.search("Params|GFLOPs", line.text)])
    assert facts["measured costs round to the paper's"] == f"{len(found.reproduces)} of {measured}"
    assert facts["rows with scores at the paper's scale"] == "0"
    runs = report.recipe.runs_of_methods.records.drop_duplicates("run_id")
    assert facts["CPU-worker-hours"] == f"{(runs['seconds'] * runs['world_size']).sum() / 3600:,.1f}"
    assert facts["seeds a cell"] == "2"
    # VII (a) is complete here, VII (b) is not.
    assert any(line.text.startswith("Table VII: 2 of 8 rows") for line in found.not_run)


def test_hours_on_a_gpu_are_counted_apart(report: Report) -> None:
    records = report.recipe.runs_of_methods.records.assign(hardware_json='{"gpu": "a card"}')
    labels = [fact.label for fact in overview(report.built, records).facts]
    assert "GPU-hours" in labels
    assert "CPU-worker-hours" not in labels
    assert overview(report.built, pd.DataFrame(columns=records.columns)).facts[0].value.startswith("4 of")


def test_what_could_be_seen_is_assumed_where_one_row_was_run(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path, {synthetic_runs.FULL: 0.0})
    report = build_tables(tmp_path, ["VII-a"], Wanted(), statistics=False, draws=50)
    found = overview(report.built, report.recipe.runs.records, report.resampled).visible
    assert found is not None
    assert "what trainings vary is left out" in found.text
    assert "variation assumed: 10 points per image" in found.text


def test_tables_of_statistics_need_two_rows_that_were_run(tmp_path: Path) -> None:
    report = build_tables(tmp_path, ["VII-a"], Wanted(), statistics=True, draws=50)
    synthetic_runs.write_runs(tmp_path / "one", {synthetic_runs.FULL: 0.0})
    one = build_tables(tmp_path / "one", ["VII-a"], Wanted(), statistics=True, draws=50)
    synthetic_runs.write_runs(tmp_path / "two", {synthetic_runs.FULL: 0.0, synthetic_runs.NO_FPN: -0.1})
    two = build_tables(tmp_path / "two", ["VII-a"], Wanted(), statistics=True, draws=50)
    kinds = ["differences", "ranks", "variation", "protocols"]
    for tables, wanted in ((report, kinds[2:]), (one, kinds[2:]), (two, kinds)):
        shown = [table.name for table in tables.beside["VII-a"] if has_measured_rows(table)]
        assert shown == [f"VII-a-{kind}" for kind in wanted]


def test_empty_differences_and_protocols_are_not_on_the_page(tmp_path: Path) -> None:
    main(["all", "--runs", str(tmp_path), "--prepared", str(tmp_path), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Differences of Table" not in page
    assert 'id="table-VII"' in page
