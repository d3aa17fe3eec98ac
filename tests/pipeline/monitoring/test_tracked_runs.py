"""Runs in MLflow follow the work: waiting, running, ended each at its own end, with every table of a record."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.failures import write_failure
from pipeline.job import Job, resolve_job
from pipeline.monitoring.mlflow_record import artifacts_of
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.monitoring.run_monitor import RunMonitor
from pipeline.monitoring.tracked_runs import Parent, tracked_runs
from pipeline.records import HISTORY_SCHEMA, RECORD_SCHEMA, history_path, record_path, samples_path
from pipeline.run import run_in_process

PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
PARENT = Parent(key="sweep", tags={}, complete=lambda: True)


@pytest.fixture
def jobs(micro_run: RunConfig, execution: ExecutionConfig) -> list[Job]:
    return [resolve_job(replace(micro_run, seed=seed), execution, provenance=PROVENANCE) for seed in range(3)]


def labels(jobs: list[Job]) -> Mapping[str, str]:
    return {job.run_id: f"cell {job.config.seed}" for job in jobs}


def states(tracker: Tracker) -> dict[str, str]:
    """Name -> status of every run of the experiment."""
    found = tracker.client.search_runs([tracker.experiment_id])
    return {str(run.info.run_name): str(run.info.status) for run in found}


def test_each_run_is_closed_when_it_ends_and_waits_as_scheduled_before(
    jobs: list[Job], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tracker = Tracker(jobs[0].runs_root, "experiment")
    with tracked_runs(tracker, jobs, labels=labels(jobs), parent=PARENT) as tracked:
        monitor = RunMonitor(jobs, labels=labels(jobs), tracked=tracked)
        assert states(tracker) == {"sweep": "RUNNING", **{f"cell {n} s{n}": "SCHEDULED" for n in range(3)}}
        tracked.start(jobs[0])
        assert states(tracker)["cell 0 s0"] == "RUNNING"
        run_in_process(jobs[0])
        write_failure(jobs[1], RuntimeError(), "loss is not finite", "trace")
        monitor.poll()
        assert states(tracker) == {
            "sweep": "RUNNING",
            "cell 0 s0": "FINISHED",
            "cell 1 s1": "FAILED",
            "cell 2 s2": "SCHEDULED",
        }
        monitor.finish()
    assert tracked.all_closed
    assert states(tracker)["sweep"] == "FINISHED"
    assert states(tracker)["cell 2 s2"] == "KILLED", "it was never done, so the same command goes on with it"
    failed = next(run for run in tracker.client.search_runs([tracker.experiment_id]) if run.info.status == "FAILED")
    assert failed.data.tags["sharedris.cause"] == "loss is not finite"


def test_an_interrupted_block_leaves_no_run_open(jobs: list[Job]) -> None:
    tracker = Tracker(jobs[0].runs_root, "experiment")
    run_in_process(jobs[0])
    with pytest.raises(KeyboardInterrupt), tracked_runs(tracker, jobs, labels=labels(jobs), parent=PARENT) as tracked:
        raise KeyboardInterrupt
    assert not tracked.all_closed
    assert states(tracker) == {"sweep": "KILLED", "cell 0 s0": "FINISHED", "cell 1 s1": "KILLED", "cell 2 s2": "KILLED"}


def test_the_same_block_again_finds_the_same_runs(jobs: list[Job]) -> None:
    tracker = Tracker(jobs[0].runs_root, "experiment")
    run_in_process(jobs[0])
    for _ in range(2):
        with tracked_runs(tracker, jobs[1:], labels=labels(jobs), done=jobs[:1], parent=PARENT):
            assert states(tracker)["cell 1 s1"] == "SCHEDULED"
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 4


def test_record_history_and_samples_are_three_artifacts(jobs: list[Job], tmp_path: Path) -> None:
    job = jobs[0]
    run_in_process(job)
    tracker = Tracker(job.runs_root, "experiment")
    with tracked_runs(tracker, [], labels=labels(jobs), done=[job]):
        pass
    (run,) = tracker.client.search_runs([tracker.experiment_id])
    columns = {
        path: set(pd.read_parquet(tracker.client.download_artifacts(run.info.run_id, path, str(tmp_path))))
        for path in (
            f"records/{job.run_id}.parquet",
            f"history/{job.run_id}.parquet",
            "samples/toyplus_unc/val.parquet",
        )
    }
    assert columns[f"records/{job.run_id}.parquet"] == set(RECORD_SCHEMA.names)
    assert columns[f"history/{job.run_id}.parquet"] == set(HISTORY_SCHEMA.names)
    assert "mask_rle" in columns["samples/toyplus_unc/val.parquet"]


def test_splits_of_one_name_in_two_sets_are_two_artifacts(jobs: list[Job]) -> None:
    data = replace(jobs[0].config.data, evaluate_splits=("one/val", "two/val"))
    job = replace(jobs[0], config=replace(jobs[0].config, data=data))
    paths = [record_path(job.runs_root, job.run_id), history_path(job.runs_root, job.run_id)]
    paths += [samples_path(job.runs_root, job.run_id, split) for split in data.evaluate_splits]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    names = [f"{folder}/{path.name}" for path, folder in artifacts_of(job.runs_root, job.run_id, job.splits)]
    assert len(names) == len(set(names)) == 4
    assert {"samples/one/val.parquet", "samples/two/val.parquet"} <= set(names)


def test_a_store_of_the_version_before_is_continued(jobs: list[Job]) -> None:
    tracker = Tracker(jobs[0].runs_root, "experiment")
    tags = {"sharedris.content_hash": jobs[0].content_hash, "sharedris.state": "running"}
    old = tracker.client.create_run(tracker.experiment_id, tags=tags, run_name="cell 0 s0")
    run_in_process(jobs[0])
    with tracked_runs(tracker, jobs[:1], labels=labels(jobs)):
        pass
    client = MlflowClient(f"sqlite:///{jobs[0].runs_root / 'mlflow.db'}")
    assert client.get_run(old.info.run_id).info.status == "FINISHED"
