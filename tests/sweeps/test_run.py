"""A sweep whose store of MLflow is lost ends all the same, and is closed there by the same command; no Ray needed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from mlflow import MlflowClient

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.monitoring.mlflow_store import TrackingError
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.run import run_in_process
from sweeps import run
from sweeps.plan import SweepPlan, open_marker, plan_sweep
from sweeps.spec import Row, Sweep
from tests.integration import lost_store

SWEEP = Sweep(name="one", title="one cell", tables={"T": (Row(label="ours"),)})


@pytest.fixture
def done(micro_run: RunConfig, execution: ExecutionConfig) -> SweepPlan:
    """A sweep with nothing left to run."""
    provenance = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
    plan = plan_sweep(
        SWEEP, lambda seed, _: replace(micro_run, seed=seed), execution, seeds=(0,), provenance=provenance
    )
    (cell,) = plan.cells
    assert cell.job is not None
    run_in_process(cell.job)
    return plan


def test_the_same_command_closes_what_was_left_open(done: SweepPlan, caplog: pytest.LogCaptureFixture) -> None:
    store, close = done.runs_root / "mlflow.db", Tracker.close

    def lose_the_store(*arguments: Any, **options: Any) -> None:
        close(*arguments, **options)
        lost_store.lose(store)

    with patch.object(Tracker, "close", lose_the_store):
        assert run.run_sweep(done, experiment="away") == 0
    assert len([line for line in caplog.messages if "the same command logs what is missing" in line]) == 1
    assert open_marker(done).exists(), "the command would say that there is nothing to run"
    lost_store.find(store)
    assert run.run_sweep(done, experiment="away") == 0
    assert all_are_closed(done)


@pytest.mark.parametrize("error", [OSError("no space left in the artifact folder"), KeyboardInterrupt()])
def test_a_run_that_was_not_logged_stays_to_be_logged(error: BaseException, done: SweepPlan) -> None:
    for _ in range(2):  # the database answers all the while
        with (
            patch.object(Tracker, "_log_record", side_effect=error),
            pytest.raises((TrackingError, KeyboardInterrupt)),
        ):
            run.run_sweep(done, experiment="away")
        assert open_marker(done).exists(), "the command would say that there is nothing to run"
    assert run.run_sweep(done, experiment="away") == 0
    assert all_are_closed(done)


def all_are_closed(plan: SweepPlan) -> bool:
    """Whether MLflow has the sweep and its run as finished, and nothing is noted as open."""
    client = MlflowClient(f"sqlite:///{plan.runs_root / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("away").experiment_id])  # type: ignore[union-attr]
    return [one.info.status for one in found] == ["FINISHED"] * 2 and not open_marker(plan).exists()


def test_the_end_of_a_sweep_registers_its_best_model_and_no_registry_fails_nothing(
    done: SweepPlan, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert run.run_sweep(done, experiment="away", register_model="ours") == 0
    (job,) = [planned.job for planned in done.cells if planned.job is not None]
    assert f"registered the model of {job.run_id} as models:/ours@best, version 1" in caplog.messages
    with patch.object(MlflowClient, "create_registered_model", side_effect=OSError("no registry there")):
        assert run.run_sweep(done, experiment="away", register_model="other") == 0
    (warning,) = [line for line in caplog.messages if "no model is registered as other" in line]
    assert "no registry there" in warning
    assert len(warning.splitlines()) == 1
    assert all_are_closed(done)
