"""Runs the missing cells of a sweep: Ray Tune fans out, each trial builds and fits a Ray Train TorchTrainer.

Done is decided by records on disk and never by Tune's state: each start makes a fresh Tuner over what has no record,
and an interrupted run goes on from its own checkpoint. One cell's failure does not stop the others.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune import Callback
from ray.tune.progress_reporter import TrialProgressCallback

from pipeline.cluster import launch, storage_check, train_run
from pipeline.cluster.placement import free_placement_group
from pipeline.failures import RunError, clear_failure, failure
from pipeline.job import Job
from pipeline.lifecycle.cleanup import remove_checkpoints
from pipeline.lifecycle.locks import RunHeldError, driver_lock
from pipeline.lifecycle.signals import sigterm_raises
from pipeline.monitoring.mlflow_uri import tracking_uri, without_password
from pipeline.monitoring.run_monitor import RunMonitor
from sweeps.plan import PlannedCell, SweepPlan, open_marker

if TYPE_CHECKING:
    from pipeline.monitoring.mlflow_tracker import Tracker

log = logging.getLogger(__name__)
SOME_FAILED = 3
_HEAD_SHARE = 0.001


def run_sweep(plan: SweepPlan, *, experiment: str) -> int:
    """Run all missing cells and return the exit code: 0, or 3 when a cell failed.

    Raises:
        InputError: when another driver runs this sweep, the cluster holds no trial, or storage is not shared.
        KeyboardInterrupt: Ctrl-C; what is done is recorded, the rest goes on from its checkpoints.
        TerminatedError: SIGTERM, likewise.
    """
    # Here and not above: every trial imports this module, and MLflow alone takes a second.
    from pipeline.monitoring.mlflow_tracker import Tracker, try_logging

    missing = plan.in_state("missing")
    runs_root = plan.runs_root
    tracker = Tracker(runs_root, experiment)
    with contextlib.ExitStack() as leases:
        # One driver a sweep; cells that it has in common with another sweep are left to whoever holds them.
        leases.enter_context(driver_lock(runs_root / "sweeps" / plan.sweep.name))
        own = _lease(missing, leases)
        note = open_marker(plan)
        note.touch()
        parent = tracker.parent(_sweep_key(plan), {"sharedris.kind": "sweep", "sharedris.rows": str(plan.rows)})
        try:
            _record_done(plan, parent, tracker)
            closed = True
            if own:
                with launch.ray_cluster():
                    closed = _run_missing(plan, own, parent, tracker)
        except BaseException:
            try_logging(lambda: tracker.interrupted(parent))  # the note stays: what was done may not be closed there
            raise
        complete = not plan.in_state("missing")
        if try_logging(lambda: tracker.finish_parent(parent, complete=complete)) and closed:
            note.unlink(missing_ok=True)
    log.info("MLflow: %s, experiment %s; make ui shows it", without_password(tracking_uri(runs_root)), experiment)
    return _report_failures(missing)


def _run_missing(plan: SweepPlan, own: Sequence[Job], parent: str, tracker: Tracker) -> bool:
    """Return whether MLflow took how each of them ended."""
    from pipeline.monitoring.mlflow_tracker import try_logging

    held = launch.capacity(own[0].execution)
    storage_check.check_shared_storage(own[0].runs_root, own[0].execution.reads)
    _clear_away(plan, own)
    log.info("Ray: %s; %d cells to run", held.arithmetic, len(own))
    labels = _labels(plan)
    children = {job.run_id: tracker.child(job, parent, labels[job.run_id]) for job in own}
    monitor = RunMonitor(own, labels=labels, tracker=tracker, mlflow_runs=children, at_once=min(held.trials, len(own)))
    monitor.start()
    try:
        with sigterm_raises():
            _fan_out(own, name=f"tune-{plan.sweep.name}", at_once=held.trials)
    finally:
        monitor.finish()
        closed = try_logging(lambda: _close(own, children, tracker))
    return closed


def _close(own: Sequence[Job], children: Mapping[str, str], tracker: Tracker) -> None:
    """End each run in MLflow; where it does not answer, the first one ends this, since each would wait for it anew."""
    for job in own:
        tracker.close(job, children[job.run_id], cause=failure(job))


def _clear_away(plan: SweepPlan, own: Sequence[Job]) -> None:
    """Remove what a driver that was killed could not: held CPUs, and Ray's folders of this sweep."""
    done = _jobs(plan.in_state("done"))
    for job in done:
        remove_checkpoints(job)  # of a run that was killed between its record and its end
    for job in (*own, *done):
        free_placement_group(job.state_folder)
        for folder in (job.runs_root / "ray").glob(f"{job.run_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (own[0].runs_root / "ray").glob(f"tune-{plan.sweep.name}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _jobs(cells: Sequence[PlannedCell]) -> list[Job]:
    return [planned.job for planned in cells if planned.job is not None]


def _labels(plan: SweepPlan) -> dict[str, str]:
    return {planned.job.run_id: planned.cell.label for planned in plan.cells if planned.job is not None}


def _record_done(plan: SweepPlan, parent: str, tracker: Tracker) -> None:
    """Show in this experiment what was done elsewhere: by another sweep, or by the orphans of a killed driver."""
    for planned in plan.in_state("done"):
        if planned.job is not None:
            tracker.show_done(planned.job, parent, planned.cell.label)


def _lease(missing: Sequence[PlannedCell], leases: contextlib.ExitStack) -> list[Job]:
    """Return the jobs that this driver holds now; those that another driver holds are named and left to it."""
    own = []
    for planned in missing:
        job = planned.job
        assert job is not None
        try:
            leases.enter_context(driver_lock(job.state_folder))
        except RunHeldError as error:
            log.warning("%s: left out, %s", planned.cell.label, error.message)
            continue
        if not job.done:  # another driver may have finished it while we waited
            clear_failure(job)
            own.append(job)
    return own


def _fan_out(jobs: Sequence[Job], *, name: str, at_once: int) -> None:
    """Fit every job, `at_once` at a time.

    A trial holds a sliver of the head node and no CPU: one that held a CPU while its trainer waits for CPUs would
    wait for ever. The trials sit with the driver, next to the runs' files.
    """
    storage = jobs[0].runs_root / "ray"
    name = f"{name}-{uuid.uuid4().hex[:8]}"
    by_run = {job.run_id: job for job in jobs}
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, jobs=by_run), {_head_resource(): _HEAD_SHARE}),
        param_space={"run_id": tune.grid_search([job.run_id for job in jobs])},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_dirname_creator=_directory_of,
            trial_name_creator=_directory_of,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            verbose=0,
            callbacks=[
                FreePlacementGroups({run_id: str(job.state_folder) for run_id, job in by_run.items()}),
                NoTrialLines(),
            ],
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)


def _trial(config: Mapping[str, str], jobs: Mapping[str, Job]) -> None:
    """Fit one job; its cause of failure lies in the run's own files."""
    job = jobs[config["run_id"]]
    with contextlib.suppress(RunError):
        train_run.fit(job)
    # Without a last report Tune takes a trial that orphans finished for a broken one.
    tune.report({"done": float(job.done)})


def _directory_of(trial: Any) -> str:
    return str(trial.config["run_id"])


def _head_resource() -> str:
    return "node:__internal_head__"


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


class NoTrialLines(TrialProgressCallback):
    """Takes the place of Tune's own lines, which print even at verbose=0; ours come from the monitor."""

    def on_trial_result(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing."""

    on_trial_error = on_trial_complete = on_trial_result


class FreePlacementGroups(Callback):
    """Frees what a trial's worker group held when the trial has ended, whatever ended it."""

    def __init__(self, state_folders: Mapping[str, str]) -> None:
        self._state_folders = dict(state_folders)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Free after a trial that ended by itself."""
        self._free(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Free after a trial that broke."""
        self._free(trial)

    def _free(self, trial: Any) -> None:
        free_placement_group(Path(self._state_folders[trial.config["run_id"]]))
