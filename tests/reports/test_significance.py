"""Differences and protocols: which pairs, which seeds, which numbers, and what is said when something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_runs
from synthetic_runs import FULL, NO_FPN, TWO

from pipeline.records import SAMPLE_SCHEMA, read_table, samples_path, write_table
from reports.build import build_one, build_tables
from reports.cost_cells import CostBook
from reports.layout import Cell, Table
from reports.load import load_costs, load_runs
from reports.run_selection import Wanted
from reports.significance import build_protocols, common_seeds, comparisons
from reports.tables import published_rows


def differences(root: Path, name: str = "VII-a", draws: int = 500) -> tuple[Table, list[str]]:
    report = build_tables(root, [name], Wanted(), statistics=True, draws=draws)
    return report.beside[name][0], [line for line in report.problems if "no records" not in line]


def line(table: Table, label: str) -> dict[str, Cell]:
    row = next(row for row in table.rows if row.cells[0].text == label)
    headings = [f"{column.group} {column.heading}".strip() for column in table.columns]
    return dict(zip(headings, row.cells, strict=True))


def test_every_row_is_compared_with_the_first_and_the_proposed_with_the_others() -> None:
    _, published = published_rows("VII-a")
    pairs = [(pair.this, pair.that) for pair in comparisons(published)]
    assert pairs == [(1, 0), (2, 0), (3, 0), (3, 1), (3, 2)]


def test_parts_of_a_table_are_not_compared_with_each_other() -> None:
    _, published = published_rows("VIII")
    for pair in comparisons(published):
        assert published.loc[pair.this, "part"] == published.loc[pair.that, "part"]


def test_differences_agree_with_the_records(runs_root: Path) -> None:
    table, problems = differences(runs_root)
    records = load_runs(runs_root).records
    of = records[records["protocol"] == "original"].groupby("variant")[["oiou", "miou"]].mean()
    cells = line(table, "{3, 6, 9, 12} − No FPN")
    assert problems == []
    for heading, metric in (("oIoU", "oiou"), ("mIoU", "miou")):
        expected = 100 * (of.loc[FULL, metric] - of.loc[NO_FPN, metric])
        assert cells[f"{heading} here"].value == pytest.approx(expected, abs=1e-9)
    assert cells["oIoU paper"].text == "+2.17"
    assert "2 common seeds" in cells["oIoU here"].detail


def test_a_large_difference_is_significant_and_none_is_not(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path, {NO_FPN: -0.3, TWO: -0.3, FULL: 0.1}, samples=300, images=100)
    table, _ = differences(tmp_path)
    assert line(table, "{3, 6, 9, 12} − No FPN")["mIoU Holm"].rank == 1
    assert line(table, "{6, 12} − No FPN")["mIoU Holm"].value > 0.05
    assert line(table, "{4, 8, 12} − No FPN")["mIoU here"].text == "not run"


def test_one_seed_is_said(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path)
    table, _ = differences(tmp_path)
    assert any("One seed each" in note for note in table.notes)


def test_common_seeds_are_paired() -> None:
    assert common_seeds({0: 5, 1: 6, 2: 7}, {1: 8, 2: 9}) == ([6, 7], [8, 9])
    assert common_seeds({0: 5}, {1: 8}) == ([5], [8])


def test_a_record_without_its_samples_is_one_line_and_the_rest_is_made(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path)
    samples_path(tmp_path, "tiny-fake-s0-001001", "toyplus_unc/val").unlink()
    table, problems = differences(tmp_path)
    assert len(problems) == 1
    assert "without its samples" in problems[0]
    assert line(table, "{6, 12} − No FPN")["oIoU here"].text == "not run"
    assert line(table, "{4, 8, 12} − No FPN")["oIoU here"].value is not None


def test_runs_on_other_samples_are_not_paired(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path)
    path = samples_path(tmp_path, "tiny-fake-s0-001003", "toyplus_unc/val")
    rows = read_table(path, SAMPLE_SCHEMA)
    write_table(path, rows.assign(image_id=rows["image_id"] + 1), SAMPLE_SCHEMA)
    _, problems = differences(tmp_path)
    assert any("other samples" in problem and "001003" in problem for problem in problems)


def test_protocols_stand_side_by_side(runs_root: Path) -> None:
    runs = load_runs(runs_root)
    built = build_one("VII-a", runs, CostBook(load_costs(runs_root)[0]), Wanted())
    cells = line(build_protocols(built, runs), "No FPN")
    mine = runs.records[runs.records["variant"] == NO_FPN]
    for protocol in ("paper", "original", "input"):
        expected = 100 * mine[mine["protocol"] == protocol]["miou"].mean()
        assert cells[f"mIoU {protocol}"].value == pytest.approx(expected, abs=0.006)
    shown = [cells[f"mIoU {protocol}"].value for protocol in ("paper", "original", "input")]
    assert cells["mIoU span"].value == pytest.approx(max(shown) - min(shown))


def test_nothing_run_still_gives_the_papers_differences(tmp_path: Path) -> None:
    table, problems = differences(tmp_path)
    cells = line(table, "{6, 12} − No FPN")
    assert problems == []
    assert (cells["oIoU paper"].text, cells["oIoU here"].text) == ("+1.49", "not run")
