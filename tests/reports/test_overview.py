"""The first screen of the page: what it counts, and that every line leads to a row that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from reports.__main__ import main
from reports.build import Report, build_tables
from reports.layout import Cell
from reports.overview import has_own_numbers, overview, rounds_to
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


def test_links_lead_to_what_is_there_and_tables_without_runs_are_folded(runs_root: Path, whole_report: Path) -> None:
    page = (whole_report / "index.html").read_text(encoding="utf-8")
    there = set(re.findall(r'id="([^"]+)"', page))
    linked = set(re.findall(r'href="#([^"]+)"', page))
    assert len(linked) > 40
    assert linked <= there
    folded = {name for name in NUMERALS if re.search(rf'id="part-{name}" data-part>\s*<details class="folded">', page)}
    built = build_tables(runs_root, list(NUMERALS), Wanted(), statistics=False).built
    assert folded == {each.table.name for each in built if not has_own_numbers(each)}
    # A picture leads to its table, and the table to the picture.
    assert 'href="#figure-scores-VII"' in page
    assert page.count('href="#part-VII">Its table') == 1


def test_empty_differences_and_protocols_are_not_on_the_page(tmp_path: Path) -> None:
    main(["all", "--runs", str(tmp_path), "--prepared", str(tmp_path), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Differences of Table" not in page
    assert 'id="table-VII"' in page
