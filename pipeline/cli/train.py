"""`sharedris train`: one run, from prepared data to its record."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.cli.guarded import USER_ERROR
from pipeline.cli.run_file import run_file_text
from pipeline.cli.run_options import (
    checked_execution,
    checked_run,
    fitted,
)
from pipeline.cli.train_options import PAPER_EXECUTION, Options
from pipeline.cluster.capacity import check_workers_fit
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, per_rank_batch_of, resolve_job
from pipeline.lifecycle.save_request import signal_saves
from pipeline.lifecycle.signals import termination_raises
from pipeline.object_store.address import shown
from pipeline.object_store.follower import followed
from pipeline.plugin_changes import warn_of_changed_plugins
from pipeline.preflight import check_runs
from pipeline.records import record_path
from sharedris.errors import InputError

if TYPE_CHECKING:
    from pipeline.monitoring.tracked_runs import TrackedRuns

RUN_FAILED = 3


def _execution(options: Options, config: RunConfig) -> ExecutionConfig:
    """Return where the run happens; the preset's micro batch is lowered until it divides a worker's samples."""
    execution = fitted(options, checked_execution(options), [config])
    if options.micro_batch_size is not None:
        return execution
    if options.preset is None or execution.micro_batch_size != PAPER_EXECUTION.micro_batch_size:
        return execution
    return replace(execution, micro_batch_size=per_rank_batch_of(config, execution, execution.workers).micro_batch_size)


def run(options: Options) -> int:
    """Run, resume, or show the plan."""
    config = checked_run(options)
    execution = _execution(options, config)
    if options.print_config:
        print(run_file_text(config, replace(execution, runs_root=options.where.runs_root)), end="")
        return 0
    if options.plan:
        return _show_plan(config, execution, options.gflops, memory=options.memory)
    check_workers_fit(execution)
    from pipeline.provenance import collect

    job = resolve_job(config, execution, cells=("train",), provenance=collect())
    use_ray = options.ray or execution.workers > 1 or "RAY_ADDRESS" in os.environ
    code = _train(job, execution, use_ray=use_ray, experiment=options.experiment)
    if options.json and code == 0:
        _print_json(job)
    return code


def _show_plan(config: RunConfig, execution: ExecutionConfig, worker_gflops: float | None, *, memory: bool) -> int:
    from pipeline.cost.estimate import describe_plan
    from pipeline.cost.memory_plan import memory_table

    if worker_gflops is not None and not 0 < worker_gflops < math.inf:
        raise InputError(f"--gflops {worker_gflops} is not a rate above 0", "Give a number, such as 30000")
    try:
        job = resolve_job(config, execution)
        state = f"{job.run_id} ({'done' if job.done else 'not done'})"
    except InputError as error:
        state = f"cannot start yet: {error.message}"
    print(describe_plan(config, execution, state=state, worker_gflops=worker_gflops))
    if memory:
        print(f"\n{memory_table(config, execution)}")
    return 0


def _train(job: Job, execution: ExecutionConfig, *, use_ray: bool, experiment: str | None) -> int:
    from pipeline.failures import RunError, clear_failure, is_for_the_user
    from pipeline.lifecycle.cleanup import remove_run_state
    from pipeline.lifecycle.locks import driver_lock
    from pipeline.monitoring.progress_bar import run_bar
    from pipeline.monitoring.run_monitor import RunMonitor

    with contextlib.ExitStack() as held:
        held.enter_context(driver_lock(job.state_folder))
        if job.done:  # seen under the lock: another driver may have finished it just now
            remove_run_state(job)
            if experiment is not None:
                _log_what_is_missing(job, experiment)
            warn_of_changed_plugins([job])
            print(f"{job.run_id} is done already: its record is in {shown(job.runs_root)}/records")
            return 0
        check_runs([job.config], job.runs_root)
        clear_failure(job)
        held.enter_context(run_bar(job))
        tracked = held.enter_context(tracked_in(job, experiment))
        waits_for = _waits_for(execution) if use_ray else None
        monitor = RunMonitor([job], labels={job.run_id: job.config.model.scale}, tracked=tracked, waits_for=waits_for)
        monitor.start()
        held.callback(monitor.finish)
        held.enter_context(signal_saves([job.state_folder]))
        try:
            start_workers(job, execution, use_ray=use_ray)
        except RunError as error:
            print(f"sharedris train: {job.run_id} failed: {error}", file=sys.stderr)
            return USER_ERROR if is_for_the_user(job, error) else RUN_FAILED
    root = shown(job.runs_root)
    print(f"record: {root}/records/{job.run_id}.parquet\nmodel:  {root}/models/{job.run_id}")
    return 0


def _print_json(job: Job) -> None:
    from pipeline.cli.machine_output import print_json
    from pipeline.monitoring.headline import read_scores, score_values

    rows = read_scores(job.runs_root, job.run_id)
    print_json(
        {
            "run_id": job.run_id,
            "record": str(record_path(job.runs_root, job.run_id)),
            "model": str(job.model_folder),
            "scores": [score_values(row) for _, row in rows.iterrows()],
        }
    )


def start_workers(job: Job, execution: ExecutionConfig, *, use_ray: bool) -> None:
    """Run a job in this process, or on the workers of Ray Train."""
    if not use_ray:  # Ray is not imported, which takes a second
        from pipeline.run import run_in_process

        run_in_process(job)
        return
    from pipeline.cluster import launch, train_run
    from pipeline.cluster.prepare import prepare_cluster

    with launch.ray_cluster(), termination_raises():  # in this order: Ray installs its own handler
        (job,), _ = prepare_cluster([job])
        with followed(job.runs_root, [job.run_id]):
            train_run.fit(job)


def _waits_for(execution: ExecutionConfig) -> Callable[[], str]:
    from pipeline.cluster.nodes import describe_wait

    return lambda: describe_wait(execution)


def _log_what_is_missing(job: Job, experiment: str) -> None:
    """Log a run that is done, where MLflow has not taken its end."""
    from pipeline.monitoring.mlflow_store import try_logging

    def log_it() -> None:
        with tracked_in(job, experiment, done=True):
            pass

    try_logging(log_it)


@contextlib.contextmanager
def tracked_in(job: Job, experiment: str | None, *, done: bool = False) -> Iterator[TrackedRuns | None]:
    """Open the run in MLflow, found by its content hash or created, and end it by its outcome."""
    if experiment is None:
        yield None
        return
    from pipeline.monitoring.mlflow_tracker import Tracker
    from pipeline.monitoring.tracked_runs import tracked_runs

    tracker, labels = Tracker(job.runs_root, experiment), {job.run_id: job.config.model.scale}
    with tracked_runs(tracker, [] if done else [job], labels=labels, done=[job] if done else []) as tracked:
        yield tracked
