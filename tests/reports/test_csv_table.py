"""CSV tables hold numbers that pandas reads, and a table written later leaves the whole report's document."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
import synthetic_runs
from synthetic_runs import FULL

from reports.__main__ import main
from reports.build import build_tables
from reports.csv_table import number_text, to_csv
from reports.layout import Cell, Column, Row, Table
from reports.load import load_runs
from reports.paper import FULL_SPLITS, NUMERALS
from reports.run_diff import compare_runs
from reports.run_selection import Wanted


@pytest.fixture(scope="module")
def every_table(runs_root: Path) -> list[Table]:
    """Return all tables of the paper, their differences and protocols, and a comparison of all runs."""
    report = build_tables(runs_root, list(NUMERALS), Wanted(), statistics=True, draws=50)
    runs = load_runs(runs_root)
    return [*report.tables, compare_runs(runs, runs.run_ids)]


def read(table: Table) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(to_csv(table)))


def numeric_positions(table: Table) -> list[int]:
    """Return where the numeric columns of a table stand in its CSV, their numeric parts included."""
    found, position = [], 1
    for column in table.columns:
        if column.numeric:
            found.append(position)
            found += [position + 1 + n for n, part in enumerate(column.parts) if not part.endswith(" setting")]
        position += 1 + len(column.parts)
    return found


def assert_numeric(tables: list[Table]) -> None:
    for table in tables:
        frame = read(table)
        for position in numeric_positions(table):
            column = frame.iloc[:, position]
            assert pd.api.types.is_numeric_dtype(column), f"{table.name}: {frame.columns[position]}: {list(column)}"


def test_every_numeric_column_of_every_table_is_numeric_for_pandas(every_table: list[Table]) -> None:
    assert_numeric(every_table)


def test_also_without_any_run(tmp_path: Path) -> None:
    assert_numeric(build_tables(tmp_path, list(NUMERALS), Wanted(), statistics=True, draws=50).tables)


@pytest.mark.parametrize(
    ("split", "seeds"),
    [
        ("refcoco+_unc/val", (0,)),
        ("refcoco_unc/testB", (0, 1)),
        pytest.param("refcoco+_unc/val", (0, 1), marks=pytest.mark.slow),
        pytest.param("refcoco_unc/testB", (0,), marks=pytest.mark.slow),
    ],
)
def test_also_with_runs_that_are_compared_with_the_paper(split: str, seeds: tuple[int, ...], tmp_path: Path) -> None:
    synthetic_runs.write_runs(
        tmp_path, {FULL: -0.3}, splits=(split,), scale="base", seeds=seeds, samples_in_record=FULL_SPLITS[split]
    )
    assert_numeric(build_tables(tmp_path, list(NUMERALS), Wanted(), statistics=True, draws=50).tables)


def test_numbers_of_the_csv_are_those_of_the_cells(every_table: list[Table]) -> None:
    for table in every_table:
        frame = read(table)
        rows = [row for row in table.rows if row.kind != "section"]
        position = 1
        for place, column in enumerate(table.columns):
            if column.numeric:
                values = [row.cells[place].value for row in rows]
                for value, read_back in zip(values, frame.iloc[:, position], strict=True):
                    assert pd.isna(read_back) if value is None else read_back == pytest.approx(value, abs=0.0051)
            position += 1 + len(column.parts)


def test_units_stand_in_the_headings_and_seeds_give_a_deviation(runs_root: Path) -> None:
    report = build_tables(runs_root, ["VII-a"], Wanted(), statistics=False)
    frame = read(report.tables[0])
    of_full = frame[frame["Ablations"] == "{3, 6, 9, 12}"].iloc[0]
    assert of_full["Params here (M)"] == 8.01
    assert of_full["Params paper (M)"] == 8
    assert of_full["oIoU here deviation (%)"] > 0
    no_fpn = frame[frame["Ablations"] == "No FPN"].iloc[0]
    assert pd.isna(no_fpn["Params paper (M)"])


def test_what_is_not_run_or_not_comparable_is_a_remark(runs_root: Path) -> None:
    report = build_tables(runs_root, ["I"], Wanted(), statistics=False)
    frame = read(report.tables[0])
    ours = frame[frame["Methods"] == "Shared-RIS, tiny"].iloc[0]
    assert "RefCOCO val: not run" in ours["remarks"]
    assert "RefCOCO+ val: toyplus_unc/val, not comparable" in ours["remarks"]


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("−0.40", -0.4, "-0.40"),
        ("+0.40", 0.402, "0.40"),
        ("3.81M", 3.81, "3.81"),
        ("13,026", 13026.0, "13026"),
        ("58.10 ± 0.40", 58.1, "58.10"),
        ("<0.001", 0.0004, "0.0004"),
        ("-", None, ""),
        ("not run", None, ""),
        ("nan", float("nan"), ""),
    ],
)
def test_a_number_is_written_without_marks(text: str, value: float | None, expected: str) -> None:
    assert number_text(Cell(text=text, value=value)) == expected


def test_a_cell_has_as_many_parts_as_its_column() -> None:
    columns = (Column(heading="oIoU", parts=("deviation",)),)
    with pytest.raises(ValueError, match="has 2 parts"):
        Table(name="T", title="T", caption="", columns=columns, rows=(Row(cells=(Cell(parts=(1.0, 2.0)),)),))


@pytest.mark.slow  # a whole report with plots as PDF
def test_the_whole_report_writes_a_document_and_plots_for_a_paper(whole_report: Path) -> None:
    assert r"\label{tab:viii-differences}" in (whole_report / "tables" / "document.tex").read_text(encoding="utf-8")
    plots = {path.stem for path in (whole_report / "figures").glob("*.svg")} - {"masks"}
    pdfs = {path.stem for path in (whole_report / "figures").glob("*.pdf")}
    assert pdfs
    assert pdfs == {name for name in plots if not name.endswith("-dark")}
    assert all(b"/Type3" not in path.read_bytes() for path in (whole_report / "figures").glob("*.pdf"))
    # One panel has a column's width, several the text's, so that a paper does not scale them.
    assert page_width(whole_report / "figures" / "iou-by-size.pdf") == pytest.approx(72 * 3.48)
    assert page_width(whole_report / "figures" / "scores-VII.pdf") == pytest.approx(72 * 7.13)


def page_width(path: Path) -> float:
    found = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", path.read_bytes())
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("later", [["VII-a"], ["compare", "tiny-fake-s0-001000", "tiny-fake-s0-001003"]])
def test_one_table_leaves_the_document_of_the_whole_report(later: list[str], runs_root: Path, tmp_path: Path) -> None:
    document = tmp_path / "tables" / "document.tex"
    document.parent.mkdir()
    document.write_text("the whole report")
    assert main([*later, "--runs", str(runs_root), "--out", str(tmp_path)]) == 0
    assert document.read_text() == "the whole report"
