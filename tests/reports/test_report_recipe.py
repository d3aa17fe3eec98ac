"""One report, one recipe: a smoke run never replaces the real model in some of the tables of a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic_runs
from synthetic_runs import FPN_VARIANTS, FULL

from pipeline.published.tables import read_published
from pipeline.records import RECORD_SCHEMA, list_runs, read_table, record_path, write_table
from reports.__main__ import main
from reports.build import Report, build_tables
from reports.layout import Table
from reports.load import load_runs
from reports.paper import NUMERALS
from reports.report_recipe import choose_recipe
from reports.run_selection import Wanted

REAL, SMOKE = "real", "smoke"
BUDGETS: dict[str, dict[str, Any]] = {
    "capped": {"epochs": 4, "max_samples_per_epoch": 24},
    "short": {"epochs": 1, "max_samples_per_epoch": None},
}
EVERY = {variant: 0.0 for numeral in NUMERALS for variant in read_published(numeral)["variant"] if variant}


def write(root: Path, name: str, variants: dict[str, float], train: dict[str, Any], **options: Any) -> set[str]:
    """Write made-up runs of one training budget, which started after all before; return their ids."""
    recipe = {REAL: "aaaa00000001", SMOKE: "bbbb00000002"}[name]
    before = set(list_runs(root))
    synthetic_runs.write_runs(root, variants, recipe=recipe, samples=12, images=4, **options)
    written = set(list_runs(root)) - before
    for run_id in written:
        path = record_path(root, run_id)
        rows = read_table(path, RECORD_SCHEMA).drop(columns="schema_version")
        config = json.loads(rows["config_json"].iloc[0])
        config["train"] = {"global_batch_size": 16, **train}
        config["seed"] = int(rows["seed"].iloc[0])
        started = f"2026-11-2{3 + len(before) // 100}T0{int(name == SMOKE)}:00:00+00:00"
        rows = rows.assign(config_json=json.dumps(config), epochs=train["epochs"], started=started)
        rows["steps"] = 305 * train["epochs"]
        write_table(path, rows, RECORD_SCHEMA)
    return written


def runs_of(tables: list[Table]) -> set[str]:
    return {run_id for table in tables for row in table.rows for cell in row.cells for run_id in cell.run_ids}


def report_of(root: Path, names: list[str], **wanted: str) -> Report:
    return build_tables(root, names, Wanted(**wanted), statistics=False)


@pytest.mark.parametrize(
    "budget",
    [pytest.param(BUDGETS["capped"], id="capped"), pytest.param(BUDGETS["short"], id="short", marks=pytest.mark.slow)],
)
def test_a_smoke_run_of_every_cell_replaces_the_real_model_in_no_table(budget: dict[str, Any], tmp_path: Path) -> None:
    """The real sweep has four cells, the smoke runs have all, are newer, and are on the real set too."""
    real = write(tmp_path, REAL, FPN_VARIANTS, {"epochs": 4, "max_samples_per_epoch": None})
    write(tmp_path, SMOKE, EVERY, budget, splits=("toyplus_unc/val", "refcoco+_unc/val"))
    report = report_of(tmp_path, list(NUMERALS))
    assert runs_of(report.tables) == real
    shown = {each.table.name: runs_of([each.table]) for each in report.built if runs_of([each.table])}
    assert {"I", "IV", "VII", "VIII"} <= set(shown)
    assert report.recipe.words == "tiny, 4 epochs, 4,880 samples an epoch"
    (line,) = report.recipe.others
    assert "--recipe bbbb00000002" in line
    for name in ("VII", "I"):  # one table by itself has the recipe of the page
        alone = report_of(tmp_path, [name])
        assert runs_of([alone.built[0].table]) <= real
        assert alone.recipe.words == report.recipe.words


@pytest.mark.slow  # a run of every cell, as above
def test_the_recipe_that_is_named_is_shown_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, REAL, FPN_VARIANTS, {"epochs": 4, "max_samples_per_epoch": None})
    smoke = write(tmp_path, SMOKE, EVERY, BUDGETS["capped"])
    report = report_of(tmp_path, list(NUMERALS), recipe="bbbb00000002")
    assert runs_of(report.tables) <= smoke
    assert len(runs_of(report.tables)) > len(FPN_VARIANTS)


@pytest.mark.parametrize("scales", [("tiny", "base"), pytest.param(("base", "tiny"), marks=pytest.mark.slow)])
def test_two_full_recipes_are_not_mixed_whichever_came_first(scales: tuple[str, str], tmp_path: Path) -> None:
    """Half of the cells at one scale, half at the other: today's page would show the one here and the other there."""
    epochs = {"tiny": 4, "base": 35}
    halves = [dict(list(EVERY.items())[:14]), dict(list(EVERY.items())[14:])]
    for name, scale, half in zip((REAL, SMOKE), scales, halves, strict=True):
        write(tmp_path, name, half, {"epochs": epochs[scale], "max_samples_per_epoch": None}, scale=scale)
    report = report_of(tmp_path, list(NUMERALS))
    records = load_runs(tmp_path).records
    shown = records[records["run_id"].isin(runs_of(report.tables))]
    assert shown["recipe"].nunique() == 1
    assert shown["scale"].nunique() == 1


def test_the_papers_other_scale_joins_the_tables_of_methods_only(tmp_path: Path) -> None:
    train = {"epochs": 35, "max_samples_per_epoch": None}
    base = write(tmp_path, REAL, FPN_VARIANTS, train, scale="base", splits=("refcoco+_unc/val",))
    (variant,) = {name for name in read_published("II")["variant"] if name}
    large = write(tmp_path, SMOKE, {variant: 0.1}, train, scale="large", splits=("refcoco+_unc/val",))
    report = report_of(tmp_path, list(NUMERALS))
    by_name = {each.table.name: runs_of([each.table]) for each in report.built}
    assert by_name["II"] == large
    assert by_name["IX"] & base
    assert by_name["IX"] & large
    assert by_name["VII"] == base


def test_a_large_smoke_run_joins_no_table(tmp_path: Path) -> None:
    base = write(tmp_path, REAL, FPN_VARIANTS, {"epochs": 35, "max_samples_per_epoch": None}, scale="base")
    write(tmp_path, SMOKE, {FULL: 0.1}, {"epochs": 1, "max_samples_per_epoch": None}, scale="large")
    assert runs_of(report_of(tmp_path, list(NUMERALS)).tables) == base


def test_a_set_that_was_prepared_anew_is_not_mixed_with_the_old_one(tmp_path: Path) -> None:
    train = {"epochs": 4, "max_samples_per_epoch": None}
    kept = write(tmp_path, REAL, FPN_VARIANTS, train)
    for run_id in write(tmp_path, SMOKE, {"beit3|fpn=other()|decoder=x(1)": 0.0, FULL: 0.0}, train):
        path = record_path(tmp_path, run_id)
        rows = read_table(path, RECORD_SCHEMA).drop(columns="schema_version").assign(data_fingerprint="new")
        write_table(path, rows, RECORD_SCHEMA)
    assert set(choose_recipe(load_runs(tmp_path), Wanted()).runs.records["run_id"]) == kept


@pytest.mark.parametrize("config", ["", "[1]", '{"train": {"epochs": null}}', "[" * 5000])
def test_a_config_that_cannot_be_read_is_its_own_recipe(config: str, tmp_path: Path) -> None:
    (run_id,) = synthetic_runs.write_runs(tmp_path, {FULL: 0.0})
    path = record_path(tmp_path, run_id)
    write_table(
        path, read_table(path, RECORD_SCHEMA).drop(columns="schema_version").assign(config_json=config), RECORD_SCHEMA
    )
    chosen = choose_recipe(load_runs(tmp_path), Wanted())
    assert chosen.words.startswith("tiny, 5 epochs")
    assert set(chosen.runs.records["run_id"]) == {run_id}


@pytest.mark.slow
def test_the_command_and_the_page_name_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, REAL, FPN_VARIANTS, {"epochs": 4, "max_samples_per_epoch": None})
    write(tmp_path, SMOKE, {FULL: 0.0}, BUDGETS["short"])
    assert main(["VII", "--runs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "recipe: tiny, 4 epochs, 4,880 samples an epoch\n" in printed
    assert "not shown: 1 run(s) of another recipe, tiny, 1 epoch, 4,880 samples an epoch" in printed
    assert main(["all", "--runs", str(tmp_path), "--prepared", str(tmp_path)]) == 0
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Recipe of every table: tiny, 4 epochs, 4,880 samples an epoch." in page


def test_runs_that_are_compared_are_named_with_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (real,) = write(tmp_path, REAL, {FULL: 0.0}, {"epochs": 4, "max_samples_per_epoch": None})
    (smoke,) = write(tmp_path, SMOKE, {FULL: 0.0}, BUDGETS["short"])
    assert main(["compare", real, smoke, "--runs", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.split()}
    assert lines["recipe"].split()[1:] == ["aaaa00000001", "bbbb00000002"]
    assert lines["epochs"].split()[1:] == ["4", "1"]


def test_no_runs_have_no_recipe() -> None:
    chosen = choose_recipe(load_runs(Path("/nonexistent/runs")), Wanted())
    assert chosen.words == ""
    assert isinstance(chosen.runs.records, pd.DataFrame)
