"""A progress bar on a terminal; elsewhere nothing, so that a log file holds only lines."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipeline.job import Job
from pipeline.monitoring.console_log import lines_through
from pipeline.monitoring.progress import Progress as Reading
from pipeline.monitoring.progress import read_progress
from pipeline.repeating import repeated

_POLL_SECONDS = 0.5


@contextlib.contextmanager
def run_bar(job: Job, console: Console | None = None) -> Iterator[None]:
    """Show the progress of a run while the block runs, on this or another node; log lines are printed above the bar."""
    console = console or Console()
    if not console.is_terminal:
        yield
        return
    with _bar(console) as bar:
        task = bar.add_task("starting", total=None, unit="")

        def show() -> None:
            reading = read_progress(job.state_folder)
            if reading is not None:
                _show(bar, task, reading)

        with (
            repeated(show, _POLL_SECONDS, name="progress bar"),
            lines_through(lambda line: bar.console.print(line, markup=False, highlight=False)),
        ):
            yield


@contextlib.contextmanager
def sample_bar(description: str, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show the number of finished samples on a terminal; yields a function that takes (done, total)."""
    console = console or Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with _bar(console) as bar:
        task = bar.add_task(description, total=None, unit="samples")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"))
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def _show(bar: Progress, task: TaskID, reading: Reading) -> None:
    if reading.phase == "training":
        rate = f"{reading.samples_per_second:.1f} samples/s" if reading.samples_per_second else ""
        loss = "" if reading.loss is None else f"  loss {reading.loss:.4f}"
        text = f"epoch {reading.epoch}/{reading.epochs}{loss}"
        bar.update(task, description=text, completed=reading.step, total=reading.steps, unit=f"steps  {rate}")
    elif reading.phase == "evaluating":
        done, total = reading.evaluated, reading.to_evaluate
        bar.update(task, description="evaluating", completed=done, total=total, unit="samples of rank 0")
