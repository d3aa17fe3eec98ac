"""Following runs from their files: each epoch said once, an estimate, the end."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pandas as pd

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, make_job
from pipeline.monitoring.durations import format_seconds
from pipeline.monitoring.progress import Progress, ProgressFile, read_progress
from pipeline.monitoring.run_log import SaidFile
from pipeline.monitoring.run_monitor import Watcher
from pipeline.records import history_path
from pipeline.run import run_in_process
from sharedris.errors import InputError

PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}


def job_of(config: RunConfig, execution: ExecutionConfig) -> Job:
    return make_job(config, execution, provenance=PROVENANCE)


def test_a_run_is_followed_from_its_first_epoch_to_its_scores(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    job = job_of(micro_run, execution)
    lines: list[str] = []
    watcher = Watcher([job], labels={job.run_id: "cell"}, say=lines.append)
    run_in_process(job, say=lambda _: None)
    watcher.poll()
    watcher.finish()
    epochs = [line for line in lines if "epoch" in line]
    assert [re.search(r"epoch +(\d)/2", line)[1] for line in epochs if re.search(r"epoch +(\d)/2", line)] == ["1", "2"]
    assert all(re.search(r"loss \d+\.\d{4} .* samples/s .* left ", line) for line in epochs)
    done = [line for line in lines if "done" in line]
    assert len(done) == 1
    assert "oIoU" in done[0]
    assert "11 samples" in done[0]


def test_the_estimate_shares_the_rest_among_those_at_once(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    jobs = [job_of(replace(micro_run, seed=seed), execution) for seed in range(4)]
    watcher = Watcher(jobs, labels={job.run_id: "cell" for job in jobs}, say=lambda _: None, at_once=2)
    assert watcher.time_left() == "?"
    reading = Progress(
        run_id=jobs[0].run_id, phase="training", epoch=1, epochs=2, step=50, steps=100, samples_per_second=6.0
    )
    ProgressFile(jobs[0].state_folder).write(reading)
    # 100 steps of 6 samples at 6 samples/s and the evaluation's twentieth are 105 s a run; 3.5 runs of it, two at once.
    assert watcher.time_left() == format_seconds((3 + 1 - 0.475) * (100 / 0.95) / 2)


def test_progress_is_written_at_once_when_the_phase_changes_and_sparsely_else(
    micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(micro_run, execution)
    file = ProgressFile(job.state_folder)
    for step in (1, 2):
        file.write(Progress(run_id=job.run_id, phase="training", epoch=1, step=step))
    read = read_progress(job.state_folder)
    assert read is not None
    assert read.step == 1
    file.write(Progress(run_id=job.run_id, phase="evaluating", epoch=1, step=3))
    read = read_progress(job.state_folder)
    assert read is not None
    assert (read.phase, read.step) == ("evaluating", 3)


def test_what_a_worker_says_reaches_the_driver_once(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    job = job_of(micro_run, execution)
    job.state_folder.mkdir(parents=True, exist_ok=True)
    file, lines = SaidFile(job.state_folder), []
    file.say("of the session before")
    watcher = Watcher([job], labels={job.run_id: "cell"}, say=lines.append)
    file.say("passed over checkpoint 7: it is damaged")
    watcher.poll()
    file.say("resumed after epoch 6")
    watcher.poll()
    watcher.poll()
    assert lines == ["passed over checkpoint 7: it is damaged", "resumed after epoch 6"]


def test_a_store_that_does_not_answer_is_said_once_and_ends_nothing(
    micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    class Away:
        asked = 0

        def epochs(self, run_id: str, history: pd.DataFrame) -> None:
            self.asked += 1
            raise InputError("MLflow fails: database is locked")

    job, lines, away = job_of(replace(micro_run, seed=9), execution), [], Away()
    names = {job.run_id: "cell"}
    watcher = Watcher([job], labels=names, say=lines.append, tracker=away, mlflow_runs=names)  # type: ignore[arg-type]
    run_in_process(job, say=lambda _: None)
    watcher.poll()
    os.utime(history_path(job.runs_root, job.run_id))  # as another epoch does
    watcher._done.clear()
    watcher.poll()
    assert away.asked == 2
    assert len([line for line in lines if "epochs are logged later: MLflow fails: database is locked" in line]) == 1
    assert any("done: toyplus_unc/val" in line for line in lines)


def test_durations_are_for_people() -> None:
    assert [format_seconds(s) for s in (0.4, 59.4, 61, 7500)] == ["0 s", "59 s", "1 min 01 s", "2 h 05 min"]
