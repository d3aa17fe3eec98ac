"""Tables from records: the right number in the right cell, and nothing hidden or mixed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import synthetic_runs
from synthetic_runs import FULL, NO_FPN

from pipeline.published.tables import read_published
from pipeline.records import RECORD_SCHEMA, record_path, write_table
from reports.cost_cells import CostBook
from reports.layout import Cell, Column, Row, Table, with_ranks
from reports.load import load_costs, load_runs
from reports.methods import build_methods
from reports.paper import FULL_SPLITS, all_names
from reports.run_selection import Wanted
from reports.tables import build_ablation


def lines_of(table: Table) -> dict[str, dict[str, Cell]]:
    """Return the cells of each line by its label and by "group heading"."""
    found: dict[str, dict[str, Cell]] = {}
    for row in table.rows:
        if row.kind != "section":
            headings = [f"{column.group} {column.heading}".strip() for column in table.columns]
            found[row.cells[0].text] = dict(zip(headings, row.cells, strict=True))
    return found


def ablation(root: Path, name: str = "VII-a", **wanted: str) -> Table:
    costs, _ = load_costs(root)
    return build_ablation(name, load_runs(root), CostBook(costs), Wanted(**wanted)).table


def test_table_seven_a_has_the_papers_lines_and_cells_in_its_order(runs_root: Path) -> None:
    table = ablation(runs_root)
    lines = lines_of(table)
    assert list(lines) == ["No FPN", "{6, 12}", "{4, 8, 12}", "{3, 6, 9, 12}"]
    assert [cells["oIoU paper"].text for cells in lines.values()] == ["66.25", "67.74", "68.13", "68.42"]
    assert [cells["mIoU paper"].text for cells in lines.values()] == ["68.38", "69.89", "70.24", "70.34"]


def test_scores_are_the_mean_over_seeds_in_percent(runs_root: Path) -> None:
    records = load_runs(runs_root).records
    of_cell = records[(records["variant"] == FULL) & (records["protocol"] == "original")]["oiou"]
    cell = lines_of(ablation(runs_root))["{3, 6, 9, 12}"]["oIoU here"]
    assert cell.text == f"{100 * of_cell.mean():.2f} ± {100 * of_cell.std(ddof=1):.2f}"
    assert len(cell.run_ids) == 2
    assert "protocol original v1" in cell.detail


@pytest.mark.parametrize("protocol", ["paper", "original", "input"])
def test_a_table_shows_one_protocol_alone(runs_root: Path, protocol: str) -> None:
    records = load_runs(runs_root).records
    expected = records[(records["variant"] == NO_FPN) & (records["protocol"] == protocol)]["miou"].mean()
    table = ablation(runs_root, protocol=protocol)
    assert lines_of(table)["No FPN"]["mIoU here"].value == pytest.approx(100 * expected, abs=0.005)
    assert f"protocol {protocol} v1" in table.caption


def test_fpn_costs_are_added_over_no_fpn_and_beside_the_published(runs_root: Path) -> None:
    lines = lines_of(ablation(runs_root))
    cells = lines["{3, 6, 9, 12}"]
    assert (cells["Params paper"].text, cells["Params here"].text) == ("8M", "8.01M")
    assert (cells["GFLOPs paper"].text, cells["GFLOPs here"].text) == ("9", "9.40")
    assert cells["GFLOPs diff."].text == "+0.40"
    assert lines["No FPN"]["Params here"].text == "-"


def test_decoder_costs_are_absolute_and_totals_whole(runs_root: Path) -> None:
    decoder = lines_of(ablation(runs_root, "VIII-a"))["1 (Ours)"]
    assert decoder["Params here"].text == "8.66M"
    assert decoder["GFLOPs here"].text == "50.08"
    total = lines_of(ablation(runs_root, "VI"))["Shared-RIS (Ours)"]
    assert total["GFLOPs here"].text == "154.53"


def test_the_caption_says_what_the_numbers_are(runs_root: Path) -> None:
    table = ablation(runs_root)
    for words in ("toyplus_unc/val", "60 expressions", "scale tiny", "5 epochs", "seeds 0, 1", "Not comparable"):
        assert words in table.caption
    assert any("all background" in note and "all image" in note for note in table.notes)
    assert not any(column.group == "oIoU" and column.heading == "diff." for column in table.columns)


def test_missing_runs_and_missing_modules_are_said(runs_root: Path) -> None:
    fpn = lines_of(ablation(runs_root, "VII"))
    assert fpn["Cross-attention"]["oIoU here"].text == "not run"
    compared = lines_of(ablation(runs_root, "IV"))
    assert compared["FPN in CRIS [21]"]["oIoU here"].text == "not run"
    assert compared["FPN in CRIS [21]"]["Params here"].text == "not measured"
    whole = ablation(runs_root, "VI").rows
    assert "not built" in {cell.text for row in whole for cell in row.cells}, "RISCLIP has no public code"


def test_no_records_at_all_still_gives_the_published_table(tmp_path: Path) -> None:
    synthetic_runs.write_costs(tmp_path)
    lines = lines_of(ablation(tmp_path))
    assert lines["{6, 12}"]["oIoU here"].text == "not run"
    assert lines["{6, 12}"]["Params here"].text == "3.81M"


def test_a_whole_real_split_at_base_scale_is_compared_with_the_paper(tmp_path: Path) -> None:
    split = "refcoco+_unc/val"
    synthetic_runs.write_runs(tmp_path, splits=(split,), scale="base", samples_in_record=FULL_SPLITS[split])
    table = ablation(tmp_path)
    cells = lines_of(table)["No FPN"]
    assert cells["oIoU diff."].value == pytest.approx(cells["oIoU here"].value - 66.25)
    assert "Not comparable" not in table.caption


def test_another_whole_split_is_not_compared_with_the_ablations_of_refcoco_plus(tmp_path: Path) -> None:
    split = "refcocog_umd/val"
    synthetic_runs.write_runs(tmp_path, splits=(split,), scale="base", samples_in_record=FULL_SPLITS[split])
    table = ablation(tmp_path)
    assert "refcocog_umd/val is not refcoco+_unc/val" in table.caption
    assert "oIoU diff." not in lines_of(table)["No FPN"]


@pytest.mark.parametrize(("scale", "count"), [("tiny", 10758), ("base", 17)])
def test_tiny_models_and_parts_of_a_split_are_never_compared(tmp_path: Path, scale: str, count: int) -> None:
    synthetic_runs.write_runs(tmp_path, splits=("refcoco+_unc/val",), scale=scale, samples_in_record=count)
    table = ablation(tmp_path)
    assert "Not comparable" in table.caption
    assert "oIoU diff." not in lines_of(table)["No FPN"]


def test_recipes_are_not_mixed_and_the_other_is_told_about(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path, recipe="cafe00000001")
    synthetic_runs.write_runs(tmp_path, {FULL: 0.2}, recipe="cafe00000002", seeds=(7,))
    built = build_ablation("VII-a", load_runs(tmp_path), CostBook(load_costs(tmp_path)[0]), Wanted())
    assert set(built.choice.rows["recipe"]) == {"cafe00000001"}
    assert any("cafe00000002" in line for line in built.choice.others)
    chosen = build_ablation(
        "VII-a", load_runs(tmp_path), CostBook(load_costs(tmp_path)[0]), Wanted(recipe="cafe00000002")
    )
    assert lines_of(chosen.table)["No FPN"]["oIoU here"].text == "not run"


def test_runs_trained_on_another_set_are_not_shown(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path, train_sets=("toy_unc",))
    assert lines_of(ablation(tmp_path))["No FPN"]["oIoU here"].text == "not run"


def test_runs_on_combined_sets_are_shown_when_they_are_named(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path, train_sets=("toy_unc", "toyplus_unc"))
    table = ablation(tmp_path, data="toyplus_unc,toy_unc")
    assert lines_of(table)["No FPN"]["oIoU here"].value is not None
    assert "trained on toy_unc + toyplus_unc" in table.caption
    assert lines_of(ablation(tmp_path, data="toyplus_unc,toyg_umd"))["No FPN"]["oIoU here"].text == "not run"


def test_two_records_that_claim_one_cell_are_told_about_and_not_shown(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path)
    path = record_path(tmp_path, "tiny-fake-s0-001000")
    rows = pd.read_parquet(path).drop(columns="schema_version").assign(run_id="other")
    write_table(record_path(tmp_path, "other"), rows, RECORD_SCHEMA)
    runs = load_runs(tmp_path)
    assert any("claim one cell" in problem and "other" in problem for problem in runs.problems)
    lines = lines_of(ablation(tmp_path))
    assert lines["No FPN"]["oIoU here"].text == "two claims"
    assert lines["{6, 12}"]["oIoU here"].value is not None


def test_records_of_another_version_and_damaged_ones_are_left_out_with_a_line(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path)
    pd.DataFrame({"schema_version": [99], "run_id": ["old"]}).to_parquet(record_path(tmp_path, "old"))
    record_path(tmp_path, "broken").write_bytes(b"no parquet")
    runs = load_runs(tmp_path)
    assert len(runs.problems) == 2
    assert any("schema version" in problem for problem in runs.problems)
    assert runs.records["run_id"].nunique() == 4


def test_methods_table_puts_our_lines_below_and_names_stand_ins(runs_root: Path) -> None:
    table = build_methods("I", load_runs(runs_root), CostBook(load_costs(runs_root)[0]), Wanted()).table
    ours = lines_of(table)["Shared-RIS, tiny"]
    assert ours["RefCOCO+ val"].text.endswith("§")
    assert ours["RefCOCO val"].text == "not run"
    assert any("toyplus_unc/val" in note and "not comparable" in note for note in table.notes)
    best = lines_of(table)["CoupAlign [8]"]["RefCOCO testA"]
    assert (best.text, best.rank) == ("77.76", 1)


def test_methods_table_compares_whole_splits(tmp_path: Path) -> None:
    split = "refcoco_unc/testB"
    synthetic_runs.write_runs(
        tmp_path, {FULL: 0.1}, splits=(split,), scale="base", samples_in_record=FULL_SPLITS[split]
    )
    lines = lines_of(build_methods("I", load_runs(tmp_path), CostBook(load_costs(tmp_path)[0]), Wanted()).table)
    assert "§" not in lines["Shared-RIS, base"]["RefCOCO testB"].text
    expected = lines["Shared-RIS, base"]["RefCOCO testB"].value - 71.83
    assert lines["difference to the paper"]["RefCOCO testB"].value == pytest.approx(expected)


def test_names_cover_all_published_rows() -> None:
    parts = sum(len(read_published(name.partition("-")[0])) for name in all_names() if name.endswith("a"))
    assert len(all_names()) == 12
    assert parts == 16


def test_ranks_follow_what_is_shown_and_ties_share_them() -> None:
    columns = [Column(heading="x", better="max"), Column(heading="y", better="min"), Column(heading="z")]
    values = [(1.0, 1.0), (3.0, 2.0), (3.0, 3.0), (2.0, None)]
    rows = [Row(cells=tuple(Cell(text=str(v), value=v) for v in (*pair, 9.0))) for pair in values]
    ranked = with_ranks(columns, rows)
    assert [row.cells[0].rank for row in ranked] == [0, 1, 1, 2]
    assert [row.cells[1].rank for row in ranked] == [1, 2, 0, 0]
    assert all(row.cells[2].rank == 0 for row in ranked)


def test_a_row_of_the_wrong_length_is_refused() -> None:
    column = Column(heading="x")
    with pytest.raises(ValueError, match="2 cells, 1 expected"):
        Table(name="t", title="t", caption="", columns=(column,), rows=(Row(cells=(Cell(), Cell())),))


def test_cells_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Cell(text="1").text = "2"  # type: ignore[misc]
