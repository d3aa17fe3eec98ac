"""Following runs from their files: each epoch said once, an estimate, the end."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace

import pandas as pd
import pytest

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.monitoring import run_log
from pipeline.monitoring.durations import format_seconds
from pipeline.monitoring.progress import Progress, ProgressFile, read_progress
from pipeline.monitoring.run_log import RunLogHandler, log_to_run
from pipeline.monitoring.run_monitor import RunMonitor
from pipeline.monitoring.tracked_runs import tracked_runs
from pipeline.records import history_path
from pipeline.run import run_in_process
from sharedris.errors import InputError

PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}


def job_of(config: RunConfig, execution: ExecutionConfig) -> Job:
    return resolve_job(config, execution, provenance=PROVENANCE)


def test_a_run_is_followed_from_its_first_epoch_to_its_scores(
    micro_run: RunConfig, execution: ExecutionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job = job_of(micro_run, execution)
    monitor = RunMonitor([job], labels={job.run_id: "cell"})
    run_in_process(job)
    monitor.poll()
    monitor.finish()
    lines = caplog.messages
    epochs = [line for line in lines if " epoch " in line]
    assert [re.search(r"epoch +(\d)/2", line)[1] for line in epochs if re.search(r"epoch +(\d)/2", line)] == ["1", "2"]
    assert all(re.search(r"loss \d+\.\d{4} .* samples/s .* left ", line) for line in epochs)
    done = [line for line in lines if "done" in line]
    assert len(done) == 1
    assert "oIoU" in done[0]
    assert "11 samples" in done[0]


def test_the_estimate_shares_the_rest_among_those_at_once(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    jobs = [job_of(replace(micro_run, seed=seed), execution) for seed in range(4)]
    monitor = RunMonitor(jobs, labels={job.run_id: "cell" for job in jobs}, at_once=2)
    assert monitor.time_left() == "?"
    reading = Progress(
        run_id=jobs[0].run_id, phase="training", epoch=1, epochs=2, step=50, steps=100, samples_per_second=6.0
    )
    ProgressFile(jobs[0].state_folder).write(reading)
    # 100 steps of 6 samples at 6 samples/s and the evaluation's twentieth are 105 s a run; 3.5 runs of it, two at once.
    assert monitor.time_left() == format_seconds((3 + 1 - 0.475) * (100 / 0.95) / 2)


def test_progress_is_written_at_once_when_the_phase_changes_and_sparsely_else(
    micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(micro_run, execution)
    file = job.progress_file
    for step in (1, 2):
        file.write(Progress(run_id=job.run_id, phase="training", epoch=1, step=step))
    read = read_progress(job.state_folder)
    assert read is not None
    assert read.step == 1
    file.write(Progress(run_id=job.run_id, phase="evaluating", epoch=1, step=3))
    read = read_progress(job.state_folder)
    assert read is not None
    assert (read.phase, read.step) == ("evaluating", 3)


def written_elsewhere(job: Job, rank: int, level: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Append to the run's log file as a worker in another process does."""
    handler = RunLogHandler(job.state_folder, rank=rank, world_size=2)
    with monkeypatch.context() as patch:
        patch.setattr(run_log, "_writer", lambda: "another host:1")
        handler.emit(
            logging.makeLogRecord(
                {
                    "name": "pipeline.somewhere",
                    "levelno": level,
                    "levelname": logging.getLevelName(level),
                    "msg": message,
                }
            )
        )


def test_records_of_workers_reach_the_driver_once_with_their_rank(
    micro_run: RunConfig, execution: ExecutionConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "pipeline")
    job = job_of(replace(micro_run, seed=11), execution)
    job.state_folder.mkdir(parents=True, exist_ok=True)
    written_elsewhere(job, 0, logging.INFO, "of the session before", monkeypatch)
    monitor = RunMonitor([job], labels={job.run_id: "cell"})
    written_elsewhere(job, 0, logging.WARNING, "skipped checkpoint 7: it is\ndamaged", monkeypatch)
    monitor.poll()
    written_elsewhere(job, 0, logging.INFO, "resumed after epoch 6", monkeypatch)
    written_elsewhere(job, 1, logging.INFO, "what rank 0 logs too", monkeypatch)
    written_elsewhere(job, 1, logging.ERROR, "a disk is full", monkeypatch)
    monitor.poll()
    monitor.poll()
    assert caplog.record_tuples == [
        ("pipeline.somewhere", logging.WARNING, "rank 0: skipped checkpoint 7: it is | damaged"),
        ("pipeline.somewhere", logging.INFO, "rank 0: resumed after epoch 6"),
        ("pipeline.somewhere", logging.DEBUG, "rank 1: what rank 0 logs too"),
        ("pipeline.somewhere", logging.ERROR, "rank 1: a disk is full"),
    ]


def test_records_of_this_process_are_in_the_file_and_are_not_logged_twice(
    micro_run: RunConfig, execution: ExecutionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    job = job_of(replace(micro_run, seed=12), execution)
    job.state_folder.mkdir(parents=True, exist_ok=True)
    monitor = RunMonitor([job], labels={job.run_id: "cell"})
    with log_to_run(job.state_folder, rank=0, world_size=1):
        logging.getLogger("pipeline.somewhere").info("a line")
    logging.getLogger("pipeline.somewhere").warning("after the run")
    monitor.poll()
    assert caplog.messages == ["a line", "after the run"]
    fields = (job.state_folder / "run.log").read_text().rstrip("\n").split("\t")
    assert fields[1:3] == ["INFO", "0/1"]
    assert fields[4:] == ["pipeline.somewhere", "a line"]


def test_a_store_that_does_not_answer_is_logged_once_and_ends_nothing(
    micro_run: RunConfig, execution: ExecutionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    class Away:
        asked = 0

        def child(self, *_: object) -> str:
            return "run"

        def start(self, *_: object) -> None:
            raise InputError("MLflow fails: database is locked")

        def epochs(self, run: str, history: pd.DataFrame) -> None:
            self.asked += 1
            raise InputError("MLflow fails: database is locked")

        def close(self, *_: object, **__: object) -> None:
            raise InputError("MLflow fails: database is locked")

    job, away = job_of(replace(micro_run, seed=9), execution), Away()
    labels = {job.run_id: "cell"}
    with tracked_runs(away, [job], labels=labels) as tracked:  # type: ignore[arg-type]
        monitor = RunMonitor([job], labels=labels, tracked=tracked)
        run_in_process(job)
        monitor.poll()
        os.utime(history_path(job.runs_root, job.run_id))  # as another epoch does
        monitor._done.clear()
        monitor.poll()
    assert not tracked.all_closed
    assert away.asked == 2
    lines = caplog.messages
    assert len([line for line in lines if "epochs are logged later: MLflow fails: database is locked" in line]) == 1
    assert any("done: toyplus_unc/val" in line for line in lines)


def test_durations_are_for_people() -> None:
    assert [format_seconds(s) for s in (0.4, 59.4, 61, 7500)] == ["0 s", "59 s", "1 min 01 s", "2 h 05 min"]


def test_waiting_for_a_busy_cluster_is_logged_with_what_is_waited_for(
    micro_run: RunConfig, execution: ExecutionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    job = job_of(replace(micro_run, seed=13), execution)
    words = "8 GPU, 4 free of 8 that are up"
    waiting, working = (RunMonitor([job], labels={job.run_id: "cell"}, waits_for=lambda: words) for _ in range(2))
    waiting.poll()
    assert not caplog.messages
    for monitor in (waiting, working):
        monitor._started -= 100
        monitor._waiting_line_due -= 100
    waiting.poll()
    waiting.poll()
    (line,) = caplog.messages
    assert line.startswith("no run has started for 100 s: waiting for 8 GPU, 4 free of 8 that are up, since ")
    job.progress_file.write(Progress(run_id=job.run_id, phase="training", epoch=1))
    working.poll()
    waiting._waiting_line_due -= 1000
    waiting.poll()
    assert len([line for line in caplog.messages if "no run has started" in line]) == 1
