"""A bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from pipeline.bar import run_bar, sample_bar
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, make_job
from pipeline.progress import Progress, ProgressFile


@pytest.fixture
def job(micro_run: RunConfig, execution: ExecutionConfig) -> Job:
    """A run that has written how far it is."""
    job = make_job(micro_run, execution)
    reading = Progress(
        run_id=job.run_id, phase="training", epoch=3, epochs=7, step=11, steps=29, loss=1.25, samples_per_second=8.0
    )
    ProgressFile(job.state_folder).write(reading)
    return job


def terminal() -> Console:
    """A terminal of 120 columns that keeps what it was sent."""
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def test_a_terminal_shows_epoch_loss_steps_and_rate(job: Job) -> None:
    console = terminal()
    with run_bar(job, console) as say:
        say("a line above")
        time.sleep(1.0)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("a line above", "epoch 3/7", "loss 1.2500", "11/29", "8.0 samples/s"):
        assert part in shown, part


def test_elsewhere_there_are_only_lines(job: Job, capsys: pytest.CaptureFixture) -> None:
    with run_bar(job, Console(file=io.StringIO(), force_terminal=False)) as say:
        say("one line")
    assert capsys.readouterr().out == "one line\n"


def test_evaluation_counts_samples_on_a_terminal_alone() -> None:
    console, pipe = terminal(), Console(file=io.StringIO(), force_terminal=False)
    for target in (console, pipe):
        with sample_bar("toyplus_unc/val", target) as on_progress:
            on_progress(5, 11)
    assert "5/11" in console.file.getvalue()  # type: ignore[attr-defined]
    assert pipe.file.getvalue() == ""  # type: ignore[attr-defined]
