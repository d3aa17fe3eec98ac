"""Two people with the same configuration on one MLflow server keep a run each; runs of earlier versions are found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.monitoring import mlflow_owner, mlflow_store
from pipeline.monitoring.mlflow_owner import ROOT, runs_root_id
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.monitoring.mlflow_uri import sqlite_uri


@pytest.fixture
def shared(micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job, with a store outside of its runs as a server is."""
    mlflow_store.make_database(tmp_path / "server.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri(tmp_path / "server.db"))
    return resolve_job(micro_run, execution, provenance={"git_commit": "test", "versions_json": "{}"})


def of_root(job: Job, root: Path) -> tuple[Tracker, Job]:
    root.mkdir(exist_ok=True)
    return Tracker(root, "shared"), replace(job, execution=replace(job.execution, runs_root=str(root)))


def test_each_root_keeps_its_own_run_and_its_sweep(shared: Job, tmp_path: Path) -> None:
    hers, her_job = of_root(shared, tmp_path / "alice")
    his, his_job = of_root(shared, tmp_path / "bob")
    first, second = hers.child(her_job, None, "cell"), his.child(his_job, None, "cell")
    assert first != second
    assert hers.parent("fpn tiny", {}) != his.parent("fpn tiny", {})
    hers.end(first, "done")
    assert not his.has_finished(his_job)
    assert Tracker(tmp_path / "alice", "shared").child(her_job, None, "cell") == first
    (tmp_path / "alice").rename(tmp_path / "moved")
    assert Tracker(tmp_path / "moved", "shared").child(her_job, None, "cell") == first


@pytest.mark.parametrize(("user", "is_adopted"), [("me", True), ("another", False)])
def test_a_run_of_an_earlier_version_belongs_to_who_started_it(
    user: str, is_adopted: bool, shared: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, job = of_root(shared, tmp_path / "runs")
    tags = {"sharedris.content_hash": job.content_hash, "mlflow.user": user}
    old = tracker.client.create_run(tracker.experiment_id, tags=tags).info.run_id
    monkeypatch.setattr(mlflow_owner, "user_name", lambda: "me")
    assert (tracker.child(job, None, "cell") == old) == is_adopted
    assert (ROOT in tracker.client.get_run(old).data.tags) == is_adopted


def test_in_a_store_below_the_runs_all_earlier_runs_are_found(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    job = resolve_job(micro_run, execution)
    tracker = Tracker(job.runs_root, "/Users/me@lab.org/fpn")  # a name as Databricks wants it
    tags = {"sharedris.content_hash": job.content_hash, "mlflow.user": "somebody"}
    old = tracker.client.create_run(tracker.experiment_id, tags=tags).info.run_id
    assert tracker.child(job, None, "cell") == old
    found = MlflowClient(sqlite_uri(job.runs_root / "mlflow.db")).get_experiment_by_name("/Users/me@lab.org/fpn")
    assert found is not None
    assert found.artifact_location.endswith("/mlartifacts/_Users_me%40lab.org_fpn")


def test_a_damaged_id_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / ".runs_id").write_text("'; DROP")
    first = runs_root_id(tmp_path)
    assert len(first) == 16
    assert runs_root_id(tmp_path) == first
