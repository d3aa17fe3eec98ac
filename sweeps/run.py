"""Runs the missing cells of a sweep: locks them, opens them in MLflow, and runs them as trials of Ray Tune.

Done is decided by records on disk and never by Tune's state: each start makes a fresh Tuner over what has no record,
and an interrupted run goes on from its own checkpoint. One cell's failure does not stop the others.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.cluster import launch
from pipeline.cluster.nodes import describe_wait
from pipeline.cluster.placement import free_placement_group
from pipeline.cluster.prepare import prepare_cluster
from pipeline.failures import clear_failure, failure
from pipeline.job import Job
from pipeline.lifecycle.cleanup import remove_checkpoints
from pipeline.lifecycle.locks import driver_lock
from pipeline.lifecycle.save_request import signal_saves
from pipeline.lifecycle.signals import termination_raises
from pipeline.monitoring.mlflow_tags import FOLDER
from pipeline.monitoring.mlflow_uri import tracking_uri, without_password
from pipeline.monitoring.run_monitor import RunMonitor
from pipeline.object_store.follower import followed
from pipeline.preflight import check_space
from pipeline.run_marks import read_marks
from sharedris.errors import InputError
from sweeps.fan_out import fan_out
from sweeps.plan import PlannedCell, SweepPlan, open_marker, sweep_folder

if TYPE_CHECKING:
    from pipeline.monitoring.mlflow_tracker import Tracker
    from pipeline.monitoring.tracked_runs import TrackedRuns

log = logging.getLogger(__name__)
SOME_FAILED = 3


def run_sweep(plan: SweepPlan, *, experiment: str, register_model: str | None = None) -> int:
    """Run all missing cells and return the exit code: 0, or 3 when a cell failed.

    Args:
        plan: of the sweep.
        experiment: of MLflow.
        register_model: name in MLflow's model registry that gets the best cell's model at the end.

    Raises:
        InputError: when another driver runs this sweep, the cluster holds no trial, or storage is not shared.
        KeyboardInterrupt: Ctrl-C; what is done is recorded, the rest goes on from its checkpoints.
        TerminatedError: SIGTERM or SIGHUP, likewise.
    """
    # Here and not above: MLflow takes a second to import.
    from pipeline.monitoring.mlflow_tracker import Tracker
    from pipeline.monitoring.tracked_runs import Parent, tracked_runs

    missing = plan.in_state("missing")
    parent = Parent(
        key=_sweep_key(plan),
        tags={
            "sharedris.kind": "sweep",
            "sharedris.rows": str(plan.rows),
            FOLDER: sweep_folder(plan).relative_to(plan.runs_root).as_posix(),
        },
        complete=lambda: not plan.in_state("missing"),
    )
    with contextlib.ExitStack() as locks:
        # One driver per sweep; cells shared with another running sweep are left to the driver that locked them.
        locks.enter_context(driver_lock(sweep_folder(plan)))
        jobs = _lock_cells(missing, locks)
        done = [job for job in _jobs(plan.in_state("done")) if not read_marks(plan.runs_root, job.run_id).archived]
        tracker = Tracker(plan.runs_root, experiment)
        marker = open_marker(plan)
        marker.touch()
        with tracked_runs(tracker, jobs, labels=_labels(plan), done=done, parent=parent) as tracked:
            if jobs:
                with launch.ray_cluster():
                    _run_missing(plan, jobs, tracked)
        if tracked.all_closed:  # else the same command closes the rest, though no cell is missing
            marker.unlink(missing_ok=True)
        if register_model is not None:
            _register(tracker, plan, register_model)
    log.info("MLflow: %s, experiment %s; make ui shows it", without_password(tracking_uri(plan.runs_root)), experiment)
    return _report_failures(missing)


def _register(tracker: Tracker, plan: SweepPlan, name: str) -> None:
    """Register the best model. The records are written, so an error is a warning: the same command tries again."""
    from pipeline.monitoring.mlflow_registry import ALIAS, register_best

    try:
        version = register_best(tracker, _jobs(plan.cells), name)
    except InputError as error:
        log.warning("no model is registered as %s: %s", name, error)
        return
    run_id = version.tags["sharedris.run_id"]
    log.info("registered the model of %s as models:/%s@%s, version %s", run_id, name, ALIAS, version.version)


def _run_missing(plan: SweepPlan, jobs: Sequence[Job], tracked: TrackedRuns) -> None:
    with termination_raises():
        jobs, capacity = prepare_cluster(jobs)
    _clear_away(plan, jobs)
    at_once = min(capacity.trials, len(jobs))
    check_space([job.config for job in jobs], plan.runs_root, at_once=at_once)
    log.info("Ray: %s; %d cells to run", capacity.arithmetic, len(jobs))
    execution = jobs[0].execution
    monitor = RunMonitor(
        jobs, labels=_labels(plan), tracked=tracked, at_once=at_once, waits_for=lambda: describe_wait(execution)
    )
    monitor.start()
    try:
        state_folders, run_ids = [job.state_folder for job in jobs], [job.run_id for job in jobs]
        with termination_raises(), followed(plan.runs_root, run_ids), signal_saves(state_folders):
            fan_out(jobs, name=f"tune-{plan.sweep.name}", at_once=capacity.trials)
    finally:
        monitor.finish()


def _clear_away(plan: SweepPlan, jobs: Sequence[Job]) -> None:
    """Remove what a killed driver could not: placement groups, and Ray's folders of this sweep."""
    done = _jobs(plan.in_state("done"))
    for job in done:
        remove_checkpoints(job)  # of a run that was killed between its record and its end
    for job in (*jobs, *done):
        free_placement_group(job.state_folder)
        for folder in (plan.runs_root / "ray").glob(f"{job.run_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (plan.runs_root / "ray").glob(f"tune-{plan.sweep.name}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _jobs(cells: Sequence[PlannedCell]) -> list[Job]:
    return [planned.job for planned in cells if planned.job is not None]


def _labels(plan: SweepPlan) -> dict[str, str]:
    return {planned.job.run_id: planned.cell.label for planned in plan.cells if planned.job is not None}


def _lock_cells(missing: Sequence[PlannedCell], locks: contextlib.ExitStack) -> list[Job]:
    """Return the jobs that this driver has locked; cells that another driver holds are logged and skipped."""
    locked = []
    for planned in missing:
        job = planned.job
        assert job is not None
        try:
            locks.enter_context(driver_lock(job.state_folder))
        except InputError as error:  # held by another driver, or a state folder that cannot be locked
            log.warning("%s is skipped here: %s", planned.cell.label, error.message)
            continue
        if not job.done:  # another driver may have finished it between the plan and the lock
            clear_failure(job)
            locked.append(job)
    return locked


def _report_failures(missing: Sequence[PlannedCell]) -> int:
    failed = [planned for planned in missing if planned.job is not None and not planned.job.done]
    for planned in failed:
        assert planned.job is not None
        where = planned.job.state_folder / "failure.json"
        log.error("%s: %s  [%s]", planned.cell.label, failure(planned.job) or "not run", where)
    return SOME_FAILED if failed else 0


def _sweep_key(plan: SweepPlan) -> str:
    """Name of a sweep in MLflow: what is swept, at which scale, on which data."""
    config = next(planned.cell.config for planned in plan.cells if planned.cell.config is not None)
    return f"{plan.sweep.name} {config.model.scale} {'+'.join(config.data.train_sets)}"
