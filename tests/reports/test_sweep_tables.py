"""Tables of sweeps that the paper does not have, and rows that it does not have: from records with real configs."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import RunConfig, replace_at
from pipeline.evaluation.metrics import METRICS, Metric
from pipeline.identity import canonical
from pipeline.recipes import default_run
from pipeline.records import RECORD_SCHEMA, read_table, record_path, write_table
from reports.__main__ import main
from reports.build import build_tables, write_report
from reports.load import load_runs
from reports.run_selection import Wanted
from reports.sweep_tables import names_of, own_tables, records_of
from sweeps import fpn
from sweeps.registry import SWEEPS
from sweeps.search import grid
from sweeps.spec import Row, Sweep
from sweeps.spec import fpn as change_fpn
from tests.reports import synthetic_runs

STAGES = (Row(label="as it is"), Row(label="two stages", changes=(change_fpn(stages=(6, 12)),)))
RATES = grid({"optim.learning_rate": (5e-4, 2e-3), "optim.clip_norm": (0.5, 1.0)})
MINE = Sweep(name="mine", title="stages of the FPN", tables={"stages": STAGES})
FASTER = Sweep(name="faster", title="rates", tables={"rates": RATES})


def write_rows(
    root: Path, rows: tuple[Row, ...], *, seeds: tuple[int, ...] = (0,), epochs: int = 4, step: float = 0.02
) -> None:
    """Write made-up records of a sweep's rows with the config that the sweep would train, each better by a step."""
    for number, row in enumerate(rows):
        for seed in seeds:
            config = default_run(train_sets=("toyplus_unc",), seed=seed)
            config = replace_at(config, "train.epochs", epochs)
            for change in row.changes:
                config = change.apply(config)
            write_one(root, config, seed=seed, number=number, step=step)


def write_one(root: Path, config: RunConfig, *, seed: int, number: int, step: float = 0.02) -> None:
    """Write a made-up record with a real config."""
    recipe = config.recipe("fake")
    (run_id,) = synthetic_runs.write_runs(
        root / f"one-{number}-{seed}", {config.model.variant: step * number - 0.1}, seeds=(seed,), recipe=recipe
    )
    rows = read_table(record_path(root / f"one-{number}-{seed}", run_id), RECORD_SCHEMA)
    name = f"run-{number}-{seed}-{config.train.epochs}"
    new = rows.assign(
        config_json=json.dumps(canonical(config)), run_id=name, content_hash=name, epochs=config.train.epochs
    )
    write_table(record_path(root, name), new.drop(columns="schema_version"), RECORD_SCHEMA)
    for kind in ("samples", "history"):
        (found,) = (root / f"one-{number}-{seed}" / kind).glob(f"{run_id}*")
        (root / kind).mkdir(exist_ok=True)
        found.rename(root / kind / found.name.replace(run_id, name))


def table_of(root: Path, sweep: Sweep) -> pd.DataFrame:
    """Return the records that belong to the only table of a sweep."""
    (table,) = own_tables({sweep.name: sweep}).values()
    return records_of(table, load_runs(root).records)


def test_every_row_of_a_sweep_finds_its_records_and_no_others(tmp_path: Path) -> None:
    write_rows(tmp_path, STAGES, seeds=(0, 1))
    found = table_of(tmp_path, MINE).query("protocol == 'original'")
    assert dict(zip(found["run_id"], found["variant"], strict=True)) == {
        "run-0-0-4": "as it is",
        "run-0-1-4": "as it is",
        "run-1-0-4": "two stages",
        "run-1-1-4": "two stages",
    }
    assert found["recipe"].nunique() == 1, "the seeds and rows of one sweep are comparable"


def test_rows_that_change_no_module_are_told_apart_and_are_one_recipe(tmp_path: Path) -> None:
    write_rows(tmp_path, RATES)
    records = load_runs(tmp_path).records
    assert records["variant"].nunique() == 1
    found = table_of(tmp_path, FASTER).query("protocol == 'original'")
    assert sorted(found["variant"]) == sorted(row.label for row in RATES)
    assert found["recipe"].nunique() == 1


def test_runs_of_other_options_are_another_recipe_and_are_named(tmp_path: Path) -> None:
    write_rows(tmp_path, STAGES, epochs=4)
    write_rows(tmp_path / "more", STAGES[:1], epochs=9)
    for kind in ("records", "samples", "history"):
        for path in (tmp_path / "more" / kind).glob("*"):
            path.rename(tmp_path / kind / path.name)
    report = build_tables(tmp_path, ["mine"], Wanted(), statistics=False, sweeps={"mine": MINE})
    (built,) = report.built
    assert set(built.choice.rows["epochs"]) == {4}
    assert len(built.choice.others) == 1


def test_a_sweep_has_the_whole_machinery(tmp_path: Path) -> None:
    write_rows(tmp_path, STAGES, seeds=(0, 1, 2), step=0.2)
    report = build_tables(tmp_path, ["mine"], Wanted(), statistics=True, draws=200, sweeps={"mine": MINE})
    table, differences, ranks, variation, protocols = report.tables
    assert [row.cells[3].text for row in ranks.rows] == ["2", "1"]
    assert all(cell.value is not None for row in variation.rows for cell in row.cells[1:])
    headings = [column.heading for column in table.columns]
    assert headings[:6] == ["Row", "seeds", "Params", "GFLOPs", "oIoU", "mIoU"]
    first = dict(zip(headings, table.rows[0].cells, strict=True))
    assert (first["Row"].text, first["seeds"].text) == ("as it is", "3")
    assert "±" in first["oIoU"].text
    assert {cell.rank for row in table.rows for cell in row.cells} >= {1, 2}
    (row,) = differences.rows
    assert row.cells[0].text == "two stages − as it is"
    assert "[" in row.cells[2].text
    assert [cell.text for cell in protocols.rows[0].cells][1:4] != ["not run"] * 3
    assert "Not comparable" not in table.caption
    assert "toyplus_unc/val" in table.caption
    assert report.problems == []


def test_an_added_metric_is_in_tables_and_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = Metric(
        name="area_iou", heading="aIoU", columns=("iou", "area_ratio"), formula=lambda iou, area: (iou * area, area)
    )
    monkeypatch.setitem(METRICS, "area_iou", double)
    write_rows(tmp_path, STAGES)
    report = build_tables(tmp_path, ["mine", "VII-a"], Wanted(), statistics=True, draws=200, sweeps={"mine": MINE})
    mine, differences, _, _, _, paper, *_ = report.tables
    assert "aIoU" in [column.heading for column in mine.columns]
    assert "aIoU" in [column.group for column in differences.columns]
    assert "aIoU" in [column.group for column in paper.columns]
    cell = mine.rows[0].cells[[column.heading for column in mine.columns].index("aIoU")]
    assert (cell.text, cell.missing) == ("not scored", True), "records of before lack it"
    assert "sharedris runs rescore run-0-0-4" in cell.detail
    here = [column.group for column in differences.columns].index("aIoU") + 1
    assert differences.rows[0].cells[here].value is not None, "per-sample rows are enough for the statistics"


def test_a_row_added_to_a_shipped_sweep_shows_in_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = Row(label="{12}", changes=(change_fpn(stages=(12,)),))
    longer = Sweep(name="fpn", title="t", tables={"VII-a": (*fpn.STAGES, added)})
    monkeypatch.setitem(SWEEPS, "fpn", longer)
    write_rows(tmp_path, longer.tables["VII-a"])
    (built,) = build_tables(tmp_path, ["VII-a"], Wanted(), statistics=False).built
    ours = [row for row in built.table.rows if row.kind == "ours"]
    assert [row.cells[0].text for row in ours] == ["{12} (ours)"]
    values = dict(zip([f"{c.group} {c.heading}" for c in built.table.columns], ours[0].cells, strict=True))
    assert values["oIoU paper"].text == ""
    assert values["oIoU here"].value is not None
    assert len(built.table.rows) == 5


def test_a_sweep_is_shown_by_name_by_file_and_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    write_rows(runs, STAGES)
    monkeypatch.setitem(SWEEPS, "mine", MINE)
    assert main(["mine", "--runs", str(runs), "--out", str(out)]) == 0
    assert "two stages − as it is" in capsys.readouterr().out
    assert {path.name for path in (out / "tables").iterdir()} >= {
        f"mine.{kind}" for kind in ("md", "tex", "csv", "html")
    }
    report = build_tables(runs, ["mine"], Wanted(), statistics=True, draws=50)
    page = write_report(report, out, tmp_path / "no images", Wanted()).read_text()
    assert "Sweep mine: stages: differences" in page
    figures = {path.stem for path in (out / "figures").iterdir()}
    assert figures >= {"scores-mine", "pareto-mine", "training-mine"}
    monkeypatch.delitem(SWEEPS, "mine")
    file = tmp_path / "my_sweep.py"
    file.write_text(
        "from sweeps.spec import Row, Sweep\n"
        "SWEEP = Sweep(name='other', title='t', tables={'x': (Row(label='plain'),)})\n"
    )
    assert main([str(file), "--runs", str(runs), "--out", str(out)]) == 0
    assert "plain" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["nothing", "fpm"])
def test_no_rows_and_unknown_names_are_one_line_and_exit_2(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SWEEPS, "nothing", Sweep(name="nothing", title="t", tables={"x": ()}))
    assert main([what, "--runs", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert what in line


def test_a_record_of_another_scale_belongs_to_no_row_and_stops_nothing(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path, scale="huge")
    write_rows(tmp_path, STAGES[:1])
    assert set(table_of(tmp_path, MINE)["run_id"]) == {"run-0-0-4"}
    larger = Sweep(name="s", title="t", tables={"x": (Row(label="large", scale="large"), Row(label="any"))})
    assert set(table_of(tmp_path, larger)["variant"]) == {"any"}, "a row that names a scale takes records of it only"


def test_a_sweep_of_the_papers_tables_means_these() -> None:
    assert names_of("fusion", SWEEPS) == ["VII-b", "VIII-b"]
    assert names_of("compared", SWEEPS) == ["IV", "V"]
