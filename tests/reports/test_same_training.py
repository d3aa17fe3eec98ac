"""Records of one training under other splits are one run for the tables; nothing is lost, and a line names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from pipeline.config import RunConfig
from pipeline.identity import canonical
from pipeline.records import RECORD_SCHEMA, record_path, write_table
from reports.load import load_runs
from reports.run_selection import Wanted, select_runs
from tests.reports import synthetic_runs

DATA = "0123456789abcdef"
VAL, TEST_A = "toyplus_unc/val", "toyplus_unc/testA"


def write_run(root: Path, config: RunConfig, splits: tuple[str, ...], started: str) -> str:
    config = replace(config, data=replace(config.data, evaluate_splits=splits))
    (made_up,) = synthetic_runs.write_runs(root, {config.model.variant: 0.0}, splits=splits, recipe=started[:10])
    rows = pd.read_parquet(record_path(root, made_up)).drop(columns="schema_version")
    record_path(root, made_up).unlink()
    own = {
        "run_id": config.run_id(DATA),
        "content_hash": config.content_hash(DATA),
        "recipe": config.recipe(DATA),
        "config_json": synthetic_runs.json.dumps(canonical(config)),
        "data_fingerprint": DATA,
        "started": started,
    }
    write_table(record_path(root, config.run_id(DATA)), rows.assign(**own), RECORD_SCHEMA)
    return config.run_id(DATA)


def test_two_records_that_differ_in_splits_fill_one_table(micro_run: RunConfig, tmp_path: Path) -> None:
    first = write_run(tmp_path, micro_run, (VAL,), "2026-01-01T00:00:00.000+00:00")
    second = write_run(tmp_path, micro_run, (VAL, TEST_A), "2026-01-02T00:00:00.000+00:00")
    other = replace(micro_run, model=replace(micro_run.model, fpn=replace(micro_run.model.fpn, stages=(1,))))
    third = write_run(tmp_path, other, (TEST_A,), "2026-01-03T00:00:00.000+00:00")
    runs = load_runs(tmp_path)
    shown = runs.records.drop_duplicates(["run_id", "split"])
    assert set(zip(shown["run_id"], shown["split"], strict=True)) == {(first, VAL), (second, TEST_A), (third, TEST_A)}
    assert runs.claims.empty
    (line,) = [line for line in runs.problems if "same training" in line]
    assert line.startswith(f"{first} and {second} are the same training; the scores of {first} are shown on {VAL}")
    variants = [micro_run.model.variant, other.model.variant]
    chosen = select_runs(runs.records, runs.claims, variants, Wanted(split="testA"))
    assert list(chosen.rows["run_id"]) == [third, second] or list(chosen.rows["run_id"]) == [second, third]
    assert chosen.recipe == micro_run.recipe(DATA)
