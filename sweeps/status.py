"""The state of every cell, read only from files and records: works from another terminal or machine."""

from __future__ import annotations

from pipeline.job import Job
from pipeline.lifecycle.heartbeat import has_live_driver
from pipeline.lifecycle.stop import stop_driver
from pipeline.monitoring.durations import format_seconds
from pipeline.monitoring.failure_file import read_cause
from pipeline.monitoring.headline import headline, last_validation
from pipeline.monitoring.progress import read_progress
from pipeline.object_store.mirror import mirror_of
from pipeline.records import history_path, record_path, samples_path
from pipeline.run_marks import read_marks
from sharedris.errors import InputError
from sweeps.plan import PlannedCell, SweepPlan, sweep_folder


def describe(plan: SweepPlan) -> str:
    """Return the states of all cells in lines."""
    lines = [f"{plan.sweep.title}: {plan.rows} rows, {len(plan.cells)} distinct cells"]
    for planned in plan.cells:
        also = f"   also {', '.join(planned.cell.names[1:])}" if planned.cell.names[1:] else ""
        lines.append(f"  {planned.state:<10} {planned.cell.label:<28}{detail(planned)}{also}")
    return "\n".join(lines)


def states(plan: SweepPlan) -> list[dict[str, object]]:
    """Return what `describe` prints for each cell, by name, for machines."""
    return [
        {
            "cell": planned.cell.label,
            "rows": list(planned.cell.names),
            "state": planned.state,
            "run_id": None if planned.job is None else planned.job.run_id,
            "detail": detail(planned),
        }
        for planned in plan.cells
    ]


def detail(planned: PlannedCell) -> str:
    """Return the details of a cell next to its state: scores, progress, cause of failure or problem."""
    if planned.problem:
        return planned.problem
    if planned.job is None:
        return ""
    job = planned.job
    if not job.done and job.trained:
        words = _progress(job)
        return f"trained, {', '.join(job.missing_splits)} to evaluate" + (f"; {words}" if words else "")
    if not job.done:
        damaged = "its record is damaged; " if record_path(job.runs_root, job.run_id).exists() else ""
        return damaged + _progress(job)
    archived = "archived, " if read_marks(job.runs_root, job.run_id).archived else ""
    return archived + headline(job.runs_root, job.run_id)


def _progress(job: Job) -> str:
    cause = read_cause(job.state_folder)
    if cause is not None:
        return f"failed: {cause}"
    progress, driven = read_progress(job.state_folder), has_live_driver(job.state_folder)
    if progress is None or progress.phase == "done":  # it was done, and its record was removed
        return "starting" if driven else ""
    words = f"{progress.phase}, epoch {progress.epoch}/{progress.epochs}, {100 * progress.share:.0f} %"
    if not driven:
        return f"interrupted while {words}"
    left = ""
    if progress.samples_per_second:
        steps_left = progress.steps - progress.step
        left = f", {format_seconds(steps_left * job.config.train.global_batch_size / progress.samples_per_second)} left"
    validated = last_validation(job.runs_root, job.run_id)
    return words + left + (f"; {validated}" if validated else "")


def stop(plan: SweepPlan) -> str:
    """Send SIGTERM to the sweep's driver, which leaves a resumable state; return in words what was done.

    Raises:
        InputError: when no driver runs here; names the host where one runs.
    """
    return stop_driver(sweep_folder(plan), f"{plan.sweep.name} below {plan.runs_root}")


def forget(plan: SweepPlan, label: str) -> list[str]:
    """Remove the records of the cells with this label, so that `run` trains them again; return their run ids.

    Raises:
        InputError: when no cell has the label, or the cell is not built.
    """
    chosen = [planned for planned in plan.cells if label in {planned.cell.label, *planned.cell.names}]
    jobs = [planned.job for planned in chosen if planned.job is not None]
    if not jobs:
        labels = ", ".join(planned.cell.label for planned in plan.cells if planned.job is not None)
        raise InputError(f"no built cell {label!r} in {plan.sweep.name}", f"There are: {labels}")
    mirror = mirror_of(jobs[0].runs_root)
    for job in jobs:
        if mirror is not None:
            mirror.remove_run(job.run_id)
        record_path(job.runs_root, job.run_id).unlink(missing_ok=True)
        history_path(job.runs_root, job.run_id).unlink(missing_ok=True)
        for split in job.splits:
            samples_path(job.runs_root, job.run_id, split).unlink(missing_ok=True)
        for checkpoint in job.state_folder.glob("checkpoint-*"):
            checkpoint.unlink()
    return [job.run_id for job in jobs]
