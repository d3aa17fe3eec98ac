"""Runs of jobs in MLflow while a command works on them: opened as waiting, closed each when it ends.

    with tracked_runs(Tracker(runs_root, experiment), jobs, labels=labels) as tracked:
        ...  # the monitor calls tracked.start, tracked.log_epochs and tracked.close
    tracked.all_closed  # whether the store took the end of every run

A store that does not answer ends no run: what it misses is logged by the same command later.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.job import Job
from pipeline.monitoring.mlflow_store import try_logging
from pipeline.monitoring.mlflow_tracker import Outcome, Tracker
from pipeline.monitoring.progress import read_progress
from sharedris.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The parent run of a sweep.

    Attributes:
        key: by which it is found again.
        complete: whether nothing of the sweep is missing; asked when it ends.
    """

    key: str
    tags: Mapping[str, str]
    complete: Callable[[], bool]


class TrackedRuns:
    """The MLflow runs of several jobs; made by `tracked_runs`.

    Attributes:
        all_closed: whether the store took the end of every run, the parent's included; known when the block has ended.
    """

    def __init__(self, tracker: Tracker, labels: Mapping[str, str]) -> None:
        self.all_closed = False
        self._tracker, self._labels = tracker, labels
        self._runs: dict[str, str] = {}  # run id -> MLflow run
        self._open: dict[str, Job] = {}
        self._started: set[str] = set()
        self._warned: set[str] = set()

    def start(self, job: Job) -> None:
        """Set a job's run to running, once."""
        if job.run_id in self._open and job.run_id not in self._started:
            self._try(job, lambda run: self._start(job, run))
            self._started.add(job.run_id)

    def _start(self, job: Job, run: str) -> None:
        self._runs[job.run_id] = self._tracker.start(run, job.splits)

    def log_epochs(self, job: Job, history: pd.DataFrame) -> None:
        """Log the epochs of a job that are not logged yet."""
        if job.run_id in self._open:
            self._try(job, lambda run: self._tracker.epochs(run, history))

    def log_validation(self, job: Job, rows: pd.DataFrame) -> None:
        """Log the validations of a job that are not logged yet."""
        if job.run_id in self._open:
            self._try(job, lambda run: self._tracker.validations(run, rows))

    def close(self, job: Job) -> None:
        """End a job's run by its outcome; what the store does not take is tried once more when the block ends."""
        if job.run_id in self._open and self._try(job, lambda run: self._tracker.close(job, run, cause=_cause(job))):
            del self._open[job.run_id]

    def _try(self, job: Job, action: Callable[[str], None]) -> bool:
        try:
            action(self._runs[job.run_id])
        except InputError as error:
            if job.run_id not in self._warned:  # once per run: each epoch's call logs all epochs again
                self._warned.add(job.run_id)
                log.warning("%-24s epochs are logged later: %s", self._labels[job.run_id], error.message)
            return False
        return True

    def _add(self, job: Job, parent: str | None) -> None:
        self._runs[job.run_id] = self._tracker.child(job, parent, self._labels[job.run_id])
        self._open[job.run_id] = job

    def _close_rest(self) -> None:
        """End each run that is still open; the first error ends this, since each call would wait for the store anew."""
        for run_id, job in list(self._open.items()):
            self._tracker.close(job, self._runs[run_id], cause=_cause(job))
            del self._open[run_id]


@contextlib.contextmanager
def tracked_runs(
    tracker: Tracker,
    jobs: Sequence[Job],
    *,
    labels: Mapping[str, str],
    done: Sequence[Job] = (),
    parent: Parent | None = None,
) -> Iterator[TrackedRuns]:
    """Open the runs of jobs for the block, below a parent where there is one; close them all when it ends.

    Args:
        jobs: what the block works on.
        labels: run id -> name of a job.
        done: jobs with a record already, shown in this experiment too: another sweep or a killed driver did them.

    Raises:
        TrackingError: when the store does not answer at the start.
    """
    tracked = TrackedRuns(tracker, labels)
    parent_run = None if parent is None else tracker.parent(parent.key, parent.tags)
    try:
        for job in done:
            if not tracker.has_finished(job):
                tracker.close(job, tracker.child(job, parent_run, labels[job.run_id]))
        for job in jobs:
            tracked._add(job, parent_run)
        yield tracked
    except BaseException:
        # Not all_closed: the same command closes what the store did not take.
        try_logging(lambda: _end(tracked, tracker, parent_run, "interrupted"))
        raise
    outcome: Outcome = "done" if parent is None or parent.complete() else "incomplete"
    tracked.all_closed = try_logging(lambda: _end(tracked, tracker, parent_run, outcome))


def _end(tracked: TrackedRuns, tracker: Tracker, parent_run: str | None, outcome: Outcome) -> None:
    tracked._close_rest()
    if parent_run is not None:
        tracker.end(parent_run, outcome)


def _cause(job: Job) -> str | None:
    """Return why a run failed, or None where it did not."""
    progress = read_progress(job.state_folder)
    return progress.message if progress is not None and progress.phase == "failed" else None
