"""Follows runs by their files: prints their log and a line per epoch, estimates the time left, logs to MLflow.

It reads only progress, history and log files, so it works alike for runs in this process, under Ray and on other nodes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.job import Job
from pipeline.lifecycle.heartbeat import update_heartbeat
from pipeline.monitoring.durations import format_seconds
from pipeline.monitoring.headline import read_scores, split_scores, validation_words
from pipeline.monitoring.progress import Progress, read_progress
from pipeline.monitoring.run_log import RunLogTail
from pipeline.records import (
    HISTORY_SCHEMA,
    RecordError,
    history_path,
    read_table,
)
from pipeline.validation_rows import VALIDATION_SCHEMA, validation_path

if TYPE_CHECKING:
    from pipeline.monitoring.tracked_runs import TrackedRuns

log = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_BEAT_SECONDS = 60.0
_WAITING_SECONDS = 45.0
_WAITING_AGAIN_SECONDS = 300.0


class RunMonitor:
    """Follows jobs until it is stopped.

    Args:
        jobs: the runs to follow.
        labels: run id -> its name in log lines.
        tracked: the runs in MLflow, or None.
        at_once: how many runs are trained at the same time; for the estimate.
        waits_for: returns in words what runs wait for while none has started.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        labels: Mapping[str, str],
        tracked: TrackedRuns | None = None,
        at_once: int = 1,
        waits_for: Callable[[], str] | None = None,
    ) -> None:
        self._thread = threading.Thread(target=self._follow, daemon=True, name="run monitor")
        self._jobs = {job.run_id: job for job in jobs}
        self._labels = labels
        self._tracked = tracked
        self._at_once = max(1, at_once)
        self._ended = threading.Event()
        self._started = time.time()
        self._beaten = 0.0
        self._waits_for = waits_for
        self._waiting_line_due = self._started + _WAITING_SECONDS
        self._epochs_logged = {job.run_id: _epochs_in(job) for job in jobs}
        self._logs = {job.run_id: RunLogTail(job.state_folder) for job in jobs}
        self._history_times: dict[str, int] = {}
        self._validation_times: dict[str, int] = {}
        self._validated = {job.run_id: _steps_validated(job) for job in jobs}
        self._evaluating: set[str] = set()
        self._done: set[str] = set()
        self._whole_seconds: dict[str, float] = {}  # run id -> how long the whole run takes, as last seen

    def start(self) -> None:
        """Start to follow, in a thread."""
        self._thread.start()

    def _follow(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            self.poll()

    def finish(self) -> None:
        """Stop, after a last poll."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self.poll()

    def poll(self) -> None:
        """Read the files of all runs once."""
        if time.monotonic() - self._beaten > _BEAT_SECONDS:
            self._beaten = time.monotonic()
            for job in self._jobs.values():
                update_heartbeat(job.state_folder)
        self._warn_of_waiting()
        for run_id, job in self._jobs.items():
            if run_id in self._done:
                continue
            self._logs[run_id].log_new()
            self._log_new_epochs(job)
            self._log_new_validations(job)
            self._log_phase(job)
        self.time_left()  # remembers rates now: a run that evaluates no longer reports one

    def _warn_of_waiting(self) -> None:
        """Log for what runs wait while none has started: on a busy cluster Ray waits for room without a line."""
        if time.time() < self._waiting_line_due:
            return
        readings = [read_progress(job.state_folder) for job in self._jobs.values()]
        if any(reading is not None and reading.updated >= self._started for reading in readings):
            self._waiting_line_due = math.inf
            return
        self._waiting_line_due = time.time() + _WAITING_AGAIN_SECONDS
        what = "until CPUs or GPUs are free" if self._waits_for is None else f"for {self._waits_for()}"
        began = time.strftime("%H:%M:%S", time.localtime(self._started))
        log.warning("no run has started for %.0f s: waiting %s, since %s", time.time() - self._started, what, began)

    def _log_new_epochs(self, job: Job) -> None:
        path = history_path(job.runs_root, job.run_id)
        try:
            changed = path.stat().st_mtime_ns
            if self._history_times.get(job.run_id) == changed:
                return
            history = read_table(path, HISTORY_SCHEMA)
        except (FileNotFoundError, RecordError):
            return
        self._history_times[job.run_id] = changed
        logged = self._epochs_logged[job.run_id]
        for _, row in history[history["epoch"] > logged].iterrows():
            log.info(self._epoch_line(job, row))
        self._epochs_logged[job.run_id] = max(logged, int(history["epoch"].max()))
        if self._tracked is not None:
            self._tracked.log_epochs(job, history)

    def _log_new_validations(self, job: Job) -> None:
        path = validation_path(job.runs_root, job.run_id)
        try:
            changed = path.stat().st_mtime_ns
            if self._validation_times.get(job.run_id) == changed:
                return
            rows = read_table(path, VALIDATION_SCHEMA)
        except (FileNotFoundError, RecordError):
            return
        self._validation_times[job.run_id] = changed
        before = self._validated[job.run_id]
        for _, row in rows[(rows["protocol"] == "original") & (rows["step"] > before)].iterrows():
            log.info("%-24s %s", self._labels[job.run_id], validation_words(row))
        self._validated[job.run_id] = max(before, int(rows["step"].max()))
        if self._tracked is not None:
            self._tracked.log_validation(job, rows)

    def _epoch_line(self, job: Job, row: pd.Series) -> str:
        rate = row["samples"] / row["seconds"] if row["seconds"] > 0 else 0.0
        return (
            f"{self._labels[job.run_id]:<24} epoch {int(row['epoch']):>3}/{job.config.train.epochs}"
            f"  loss {row['loss']:.4f}  {rate:6.1f} samples/s  {row['seconds']:6.1f} s   left {self.time_left()}"
        )

    def _log_phase(self, job: Job) -> None:
        label = self._labels[job.run_id]
        progress = read_progress(job.state_folder)
        if progress is None or progress.updated < self._started:
            return
        if self._tracked is not None:
            self._tracked.start(job)
        if progress.phase == "evaluating" and job.run_id not in self._evaluating:
            self._evaluating.add(job.run_id)
            log.info("%-24s evaluating %s", label, ", ".join(_evaluated(job)))
        if job.done:
            self._done.add(job.run_id)
            log.info("%-24s done: %s", label, _scores_line(job))
        elif progress.phase == "failed":
            self._done.add(job.run_id)
            log.error("%-24s FAILED: %s", label, progress.message)
        if self._tracked is not None and job.run_id in self._done:
            self._tracked.close(job)

    def time_left(self) -> str:
        """Return the estimate for all runs together, as minutes and seconds."""
        readings = {run_id: read_progress(job.state_folder) for run_id, job in self._jobs.items()}
        fresh = {run_id: r for run_id, r in readings.items() if r is not None and r.updated >= self._started}
        for run_id, reading in fresh.items():
            if reading.samples_per_second:
                self._whole_seconds[run_id] = _whole_seconds(self._jobs[run_id], reading)
        if not self._whole_seconds:
            return "?"
        typical = sum(self._whole_seconds.values()) / len(self._whole_seconds)
        shares = [1.0 if job.done else _share(fresh.get(run_id)) for run_id, job in self._jobs.items()]
        return format_seconds(sum(1.0 - share for share in shares) * typical / self._at_once)


def _share(progress: Progress | None) -> float:
    return 0.0 if progress is None else progress.share


def _whole_seconds(job: Job, progress: Progress) -> float:
    """Return how long the whole run takes at its present rate; evaluation counts as a twentieth."""
    assert progress.samples_per_second
    return progress.steps * job.config.train.global_batch_size / progress.samples_per_second / 0.95


def _evaluated(job: Job) -> tuple[str, ...]:
    """Return the splits that an evaluation scores: of a trained run only those that it lacks."""
    return ((*job.missing_splits, *job.missing_curves) if job.trained else ()) or job.splits


def _epochs_in(job: Job) -> int:
    path: Path = history_path(job.runs_root, job.run_id)
    try:
        return int(read_table(path, HISTORY_SCHEMA)["epoch"].max())
    except RecordError:
        return 0


def _steps_validated(job: Job) -> int:
    try:
        return int(read_table(validation_path(job.runs_root, job.run_id), VALIDATION_SCHEMA)["step"].max())
    except RecordError:
        return 0


def _scores_line(job: Job) -> str:
    """Return the scores in words; another node may still hide the record that has just been written."""
    try:
        row = read_scores(job.runs_root, job.run_id).iloc[0]
    except RecordError as error:
        return error.message
    return f"{split_scores(row)} (original, {row['samples']} samples) in {format_seconds(row['seconds'])}"
