"""Evaluation of finished runs on more splits, one run after the other, each locked as for training."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from pipeline.cli.evaluate_options import Options
from pipeline.cli.machine_output import add_result
from pipeline.cli.train import RUN_FAILED, start_workers, tracked_in
from pipeline.cluster.capacity import check_workers_fit
from pipeline.config import ExecutionConfig
from pipeline.files import require_writable
from pipeline.job import Job
from pipeline.monitoring.headline import read_scores, score_values, split_scores
from pipeline.object_store.opened import bring_results
from pipeline.recorded_job import recorded_job


def evaluate_runs(options: Options, run_ids: list[str], splits: list[str]) -> int:
    """Add the splits that the records of runs lack; every run is checked before the first is evaluated.

    Returns:
        0, or 3 when a run failed; the others are evaluated.
    """
    execution = ExecutionConfig(
        workers=options.workers,
        device=options.device,
        loader_workers=options.loader_workers,
        prepared_root=options.prepared,
        runs_root=str(options.runs),
        evaluation_batch_size=options.batch_size,
    )
    check_workers_fit(execution)
    require_writable(Path(execution.runs_root), "--runs")
    from pipeline.evaluation.check import check_scoring
    from pipeline.provenance import collect

    check_scoring()
    provenance = collect()
    bring_results(options.runs, run_ids)
    curves = options.threshold_curve
    jobs = [
        recorded_job(run_id, splits, execution, provenance, wants_curves=curves) for run_id in dict.fromkeys(run_ids)
    ]
    use_ray = options.ray or execution.workers > 1 or "RAY_ADDRESS" in os.environ
    failed = [job for job in jobs if not evaluate_job(job, use_ray=use_ray, experiment=options.experiment)]
    done = [job for job in jobs if job not in failed]
    add_result(runs={job.run_id: _values(job) for job in done}, failed=[job.run_id for job in failed])
    return RUN_FAILED if failed else 0


def evaluate_job(job: Job, *, use_ray: bool, experiment: str | None) -> bool:
    """Add the splits that a record lacks, and print the scores of those that were asked for; False where it failed.

    Raises:
        RunHeldError: when another driver works on the run.
    """
    from pipeline.failures import RunError, clear_failure
    from pipeline.lifecycle.locks import driver_lock
    from pipeline.monitoring.progress_bar import run_bar
    from pipeline.monitoring.run_monitor import RunMonitor

    with contextlib.ExitStack() as held:
        held.enter_context(driver_lock(job.state_folder))
        # Seen under the lock: another driver may have added some.
        missing, curves, is_done = job.missing_splits, job.missing_curves, job.done
        clear_failure(job)
        tracked = held.enter_context(tracked_in(job, experiment, done=is_done))
        if not is_done:
            held.enter_context(run_bar(job))
            monitor = RunMonitor([job], labels={job.run_id: job.config.model.scale}, tracked=tracked)
            monitor.start()
            held.callback(monitor.finish)
            try:
                start_workers(job, job.execution, use_ray=use_ray)
            except RunError as error:
                print(f"sharedris evaluate: {job.run_id} failed: {error}", file=sys.stderr)
                return False
    _print_scores(job, missing, curves)
    return True


def _values(job: Job) -> list[dict[str, object]]:
    rows = read_scores(job.runs_root, job.run_id)
    return [score_values(row) for _, row in rows[rows["split"].isin(job.asked_splits)].iterrows()]


def _print_scores(job: Job, added: Iterable[str], curves: Iterable[str]) -> None:
    rows = read_scores(job.runs_root, job.run_id)
    states = {**dict.fromkeys(curves, "curve added"), **dict.fromkeys(added, "added")}
    for split in job.asked_splits:
        for _, row in rows[rows["split"] == split].iterrows():
            state = states.get(split, "is there already")
            print(f"{job.run_id}: {state}: {split_scores(row)} (original, {row['samples']} samples)")
