"""A bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import logging
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.monitoring.console_log import log_to_console
from pipeline.monitoring.progress import Progress
from pipeline.monitoring.progress_bar import run_bar, sample_bar

log = logging.getLogger("pipeline.test")


@pytest.fixture
def job(micro_run: RunConfig, execution: ExecutionConfig) -> Job:
    """A run that has written how far it is."""
    job = resolve_job(micro_run, execution)
    reading = Progress(
        run_id=job.run_id, phase="training", epoch=3, epochs=7, step=11, steps=29, loss=1.25, samples_per_second=8.0
    )
    job.progress_file.write(reading)
    return job


def terminal() -> Console:
    """A terminal of 120 columns that keeps what it was sent."""
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def test_a_terminal_shows_epoch_loss_steps_and_rate(job: Job) -> None:
    console = terminal()
    with log_to_console(), run_bar(job, console):
        log.info("a line above")
        time.sleep(1.0)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("a line above", "epoch 3/7", "loss 1.2500", "11/29", "8.0 samples/s"):
        assert part in shown, part


def test_elsewhere_there_are_only_lines(job: Job, capsys: pytest.CaptureFixture) -> None:
    with log_to_console(), run_bar(job, Console(file=io.StringIO(), force_terminal=False)):
        log.info("one line")
    assert capsys.readouterr().out == "one line\n"


def test_evaluation_counts_samples_on_a_terminal_alone() -> None:
    console, pipe = terminal(), Console(file=io.StringIO(), force_terminal=False)
    for target in (console, pipe):
        with sample_bar("toyplus_unc/val", target) as on_progress:
            on_progress(5, 11)
    assert "5/11" in console.file.getvalue()  # type: ignore[attr-defined]
    assert pipe.file.getvalue() == ""  # type: ignore[attr-defined]


def test_a_line_reaches_a_log_file_while_the_run_goes_on(job: Job, tmp_path: Path) -> None:
    log, program = tmp_path / "log", tmp_path / "program.py"
    program.write_text(
        "import logging, sys, pickle; from pipeline.monitoring.console_log import log_to_console\n"
        "from pipeline.monitoring.progress_bar import run_bar\n"
        "with log_to_console(), run_bar(pickle.load(open(sys.argv[1], 'rb'))):\n"
        "    logging.getLogger('pipeline.x').info('epoch 1'); sys.stdin.read()\n"
    )
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(program), str(tmp_path / "job")],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), "PYTHONUNBUFFERED": ""},
            stdin=subprocess.PIPE,
            stdout=output,
        )
    try:
        deadline = time.time() + 60
        while not log.read_text() and time.time() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        assert log.read_text() == "epoch 1\n"
    finally:
        process.kill()
        process.communicate()
