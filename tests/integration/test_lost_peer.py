"""A worker that others are lost to ends, and what it meets then is not taken for the run's own failure."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.distributed.process_group import Worker
from pipeline.failures import failure
from pipeline.job import Job
from pipeline.records import record_path
from pipeline.run import run_job
from pipeline.training import trainer
from tests.integration import workers
from tests.integration.test_failures import job_of, newest


def train_until_the_group_is_taken_away(worker: Worker, job: Job) -> str:
    """Run the job; before its sixth step the launcher destroys the process group. Returns the exception's name."""

    def step_in_a_group_that_ends(*arguments: Any, step: int, **options: Any) -> Any:
        if step == 5:
            torch.distributed.destroy_process_group()
        return real(*arguments, step=step, **options)

    real = trainer.train_step
    with patch("pipeline.training.trainer.train_step", step_in_a_group_that_ends):
        try:
            run_job(job, worker)
        except Exception as error:
            return type(error).__name__
    return "no error"


def test_a_process_group_that_the_launcher_takes_away_is_no_failure_of_the_run(
    micro_run: RunConfig, two_workers: ExecutionConfig, tmp_path: Path
) -> None:
    # Ray does so with those that still train when another worker was lost, or when elastic training takes one more.
    job = job_of(micro_run, two_workers)
    raised = workers.call(2, train_until_the_group_is_taken_away, tmp_path, job)
    assert set(raised) <= {"ValueError", "DistError"}  # by what each was doing
    assert failure(job) is None
    assert newest(job) == 1
    assert workers.finish(workers.start(job, 2)) == [0, 0]
    assert record_path(job.runs_root, job.run_id).exists()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_worker_whose_peer_is_killed_ends_and_says_nothing_of_the_run(
    lost: int, micro_run: RunConfig, two_workers: ExecutionConfig
) -> None:
    job = job_of(micro_run, two_workers, epochs=500)
    processes = workers.start(job, 2)
    while newest(job) < 2:
        assert processes[0].is_alive()
        time.sleep(0.01)
    processes[lost].kill()
    assert workers.finish(processes, 20)[1 - lost] == 1
    said = (job.state_folder / f"stderr-{1 - lost}").read_text()
    assert "gloo" in said
    assert "RunError" not in said
    assert failure(job) is None
