"""Splits leave a run's identity: they are added to its record later, with the bits of a run that had them at once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import added_splits
from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.evaluation.threshold_counts import thresholds_path
from pipeline.job import Job, resolve_job
from pipeline.records import read_table, record_path, samples_path, write_table
from pipeline.run import run_in_process
from reports.load import load_runs
from reports.run_selection import Wanted, select_runs
from tests.integration import workers

TOY = "toyplus_unc"
PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
VAL, TEST_A, TEST_B = (f"{TOY}/{name}" for name in ("val", "testA", "testB"))


def with_splits(config: RunConfig, *splits: str) -> RunConfig:
    return replace(config, data=replace(config.data, evaluate_splits=splits))


def job_of(config: RunConfig, toy_root: Path, runs: Path, **options: Any) -> Job:
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(runs), **options)
    return resolve_job(config, execution, provenance=PROVENANCE)


@pytest.fixture(scope="module")
def short(micro_run: RunConfig) -> RunConfig:
    return replace(micro_run, train=replace(micro_run.train, epochs=1))


@pytest.fixture(scope="module")
def trained(short: RunConfig, toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with one run that was trained and scored on val."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    run_in_process(job_of(short, toy_root, runs))
    return runs


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def only_run(runs: Path) -> str:
    (path,) = (runs / "records").glob("*.parquet")
    return path.stem


def evaluate(runs: Path, prepared: Path, *words: str) -> int:
    return main(["evaluate", *words, "--runs", str(runs), "--prepared", str(prepared), "--device", "cpu"])


def test_a_split_added_later_has_the_bits_of_one_scored_at_once(
    short: RunConfig, toy_root: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at_once = job_of(with_splits(short, VAL, TEST_A), toy_root, tmp_path / "at once")
    run_in_process(at_once)
    run_id = only_run(runs)
    assert evaluate(runs, toy_root, run_id, TEST_A) == 0
    assert f"{run_id}: added: {TEST_A} oIoU" in capsys.readouterr().out
    expected, got = workers.outcome(at_once), workers.outcome_below(runs, run_id)
    for part in ("weights", "history", "samples"):
        assert got[part] == expected[part], part
    own = ("run_id", "content_hash", "recipe", "config_json", "evaluated_json")
    rows = [[{k: v for k, v in row.items() if k not in own} for row in part["record"]] for part in (expected, got)]
    assert rows[0] == rows[1]
    assert [row["evaluated_json"] != "nan" for row in got["record"]] == [False] * 3 + [True] * 3
    loaded = load_runs(runs)
    variant, wanted = short.model.variant, Wanted(split="testA")
    assert list(select_runs(loaded.records, loaded.claims, [variant], wanted).rows["run_id"]) == [run_id]


def test_a_split_that_is_done_is_not_evaluated_again(
    toy_root: Path, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id, evaluate_one, scored = only_run(runs), added_splits.evaluate_one, []

    def killed_at_the_second(model: Any, dataset: Any, *rest: Any) -> pd.DataFrame:
        scored.append(dataset.split)
        if len(scored) == 2:
            raise RuntimeError("the worker is gone")
        return evaluate_one(model, dataset, *rest)

    monkeypatch.setattr(added_splits, "evaluate_one", killed_at_the_second)
    assert evaluate(runs, toy_root, run_id, TEST_A, TEST_B) == 3
    assert "the worker is gone" in capsys.readouterr().err
    assert evaluate(runs, toy_root, run_id, TEST_A, TEST_B, VAL) == 0
    assert scored == [TEST_A, TEST_B, TEST_B]
    assert f"is there already: {VAL}" in capsys.readouterr().out
    record = pd.read_parquet(record_path(runs, run_id))
    assert record.groupby("split").size().to_dict() == {VAL: 3, TEST_A: 3, TEST_B: 3}


def test_a_run_gets_its_counts_over_thresholds_afterwards(
    toy_root: Path, runs: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """At the run's own threshold they are the recorded counts; the record and the rows keep their bytes."""
    run_id = only_run(runs)
    curve, samples = thresholds_path(runs, run_id, VAL), samples_path(runs, run_id, VAL)
    trained, record = pd.read_parquet(curve), record_path(runs, run_id).read_bytes()
    columns = ["index", "intersection_original", "union_original", "intersection_paper", "union_input"]
    at_own = trained[trained["threshold"] == 0.35].reset_index(drop=True)
    pd.testing.assert_frame_equal(at_own[columns], pd.read_parquet(samples)[columns])
    assert trained.groupby("threshold")["intersection_original"].sum().is_monotonic_decreasing

    curve.unlink()
    assert evaluate(runs, toy_root, run_id, VAL) == 0
    assert not curve.exists()
    assert evaluate(runs, toy_root, run_id, VAL, TEST_A, "--threshold-curve") == 0
    assert f"{run_id}: curve added: {VAL}" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_parquet(curve), trained)
    assert thresholds_path(runs, run_id, TEST_A).exists()
    written = curve.stat().st_mtime_ns
    assert evaluate(runs, toy_root, run_id, VAL, "--threshold-curve") == 0
    assert curve.stat().st_mtime_ns == written
    assert "have other counts" not in caplog.text

    recorded = read_table(samples, sample_schema())
    recorded.loc[0, "intersection_paper"] += 1
    write_table(samples, recorded.drop(columns="schema_version"), sample_schema())
    record_path(runs, run_id).write_bytes(record)
    curve.write_bytes(b"damaged")
    assert evaluate(runs, toy_root, run_id, VAL, "--threshold-curve") == 0
    assert f"1 of {len(recorded)} samples of {VAL} have other counts at 0.35 than recorded" in caplog.text
    assert record_path(runs, run_id).read_bytes() == record


def test_other_splits_find_the_run_and_evaluate_what_is_missing(short: RunConfig, toy_root: Path, runs: Path) -> None:
    before = workers.outcome_below(runs)["weights"]
    job = job_of(with_splits(short, TEST_A, VAL), toy_root, runs)
    assert (job.run_id, job.trained, job.missing_splits) == (only_run(runs), True, (TEST_A,))
    run_in_process(job)
    assert job.done
    assert workers.outcome(job)["weights"] == before
    again = job_of(with_splits(short, TEST_A), toy_root, runs)
    assert again.done
    assert again.run_id == job.run_id
    other = job_of(replace(with_splits(short, TEST_A), seed=1), toy_root, runs)
    assert not other.trained


def test_an_unfinished_run_is_found_under_other_splits(
    short: RunConfig, toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = job_of(short, toy_root, tmp_path / "runs")
    with monkeypatch.context() as stopped:
        stopped.setattr("pipeline.run.finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_in_process(first)
    job = job_of(with_splits(short, TEST_A), toy_root, tmp_path / "runs")
    assert job.run_id == first.run_id
    run_in_process(job)
    record = pd.read_parquet(record_path(job.runs_root, job.run_id))
    assert set(record["split"]) == {VAL, TEST_A}
    assert record["evaluated_json"].isna().all()


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("no run", "no record of 'nothing'"),
        ("no model", "has no model.safetensors"),
        ("no split", "has no split"),
        ("no splits", "no split is named"),
        ("not prepared", "is not prepared"),
        ("tokenizer", "prepared with another tokenizer"),
        ("rules", "--threshold prints and is not recorded"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    cause: str, words: str, toy_root: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id, arguments = only_run(runs), [TEST_A]
    if cause == "no run":
        run_id = "nothing"
    elif cause == "no model":
        shutil.rmtree(runs / "models")
    elif cause == "tokenizer":
        (runs / "models" / run_id / "tokenizer.model").write_bytes(b"another")
    else:
        arguments = {
            "no split": [f"{TOY}/testC"],
            "no splits": [],
            "not prepared": ["toy_unc/val"],
            "rules": [TEST_A, "--threshold", "0.5"],
        }[cause]
    before = {path: path.read_bytes() for path in (runs / "records").iterdir()}
    assert evaluate(runs, toy_root, run_id, *arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") <= 2
    assert {path: path.read_bytes() for path in (runs / "records").iterdir()} == before
    assert not samples_path(runs, only_run(runs), TEST_A).exists()


def test_a_batch_of_many_samples_is_recorded_as_such(toy_root: Path, runs: Path) -> None:
    assert evaluate(runs, toy_root, only_run(runs), TEST_A, "--batch-size", "4") == 0
    record = pd.read_parquet(record_path(runs, only_run(runs)))
    assert '"batch_size": 4' in record["evaluated_json"].iloc[-1]
