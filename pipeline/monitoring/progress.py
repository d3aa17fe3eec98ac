"""The progress of a run: a small file that its worker of rank zero updates and that any process may read.

    RUNS/state/RUN/progress.json

The driver's log lines and estimates and `status` on another machine read it. It decides nothing: a run is done when
its record exists.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from pipeline.files import read_json, write_json

Phase = Literal["starting", "training", "evaluating", "done", "failed"]
_SECONDS_BETWEEN_WRITES = 2.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress at one time.

    `updated` is seconds since 1970; `data_wait_ratio` the part of a step in which rank zero waits for its batch;
    `mfu` the model FLOPs utilization of the epoch before; `message` the cause of a failure in one line.
    """

    run_id: str
    phase: Phase
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    samples_per_second: float | None = None
    data_wait_ratio: float | None = None
    mfu: float | None = None
    evaluated: int = 0
    to_evaluate: int = 0
    message: str = ""
    updated: float = 0.0
    host: str = ""
    process: int = 0

    @property
    def share(self) -> float:
        """Finished share of the run, 0 .. 1; evaluation counts as the last twentieth."""
        if self.phase == "done":
            return 1.0
        trained = self.step / self.steps if self.steps else 0.0
        scored = self.evaluated / self.to_evaluate if self.to_evaluate else 0.0
        return 0.95 * trained + 0.05 * scored


class ProgressFile:
    """Writes progress, at most once in two seconds unless the phase or the epoch changes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "progress.json"
        self._last: tuple[object, ...] = ()
        self._written = 0.0

    def write(self, progress: Progress) -> None:
        """Write the progress; skip it when the last write was less than two seconds ago in the same phase and epoch."""
        if not self.due(progress.phase, progress.epoch):
            return
        now = time.time()
        stamp = {"updated": now, "host": socket.gethostname(), "process": os.getpid()}
        write_json(self._path, {**asdict(progress), **stamp})
        self._last, self._written = (progress.phase, progress.epoch), now

    def due(self, phase: Phase, epoch: int) -> bool:
        """Whether `write` would write this phase and epoch now: ask first, since reading a loss waits for the GPU."""
        return (phase, epoch) != self._last or time.time() - self._written >= _SECONDS_BETWEEN_WRITES


def read_progress(folder: Path) -> Progress | None:
    """Return the last progress of a run, or None where there is none."""
    values = read_json(folder / "progress.json")
    known = {field.name for field in fields(Progress)}
    if not isinstance(values, dict) or not {"run_id", "phase"} <= set(values):
        return None
    reading = Progress(**{name: value for name, value in values.items() if name in known})
    return reading if _is_sound(reading) else None


def _is_sound(reading: Progress) -> bool:
    """Whether the types are those of the fields: a damaged file counts as none, and ends no list of runs."""
    numbers = (reading.epoch, reading.epochs, reading.step, reading.steps, reading.evaluated, reading.to_evaluate)
    measured = (reading.loss, reading.samples_per_second, reading.data_wait_ratio, reading.mfu, reading.updated)
    return (
        reading.phase in get_args(Phase)
        and all(isinstance(text, str) for text in (reading.run_id, reading.message, reading.host))
        and all(isinstance(number, int) for number in (*numbers, reading.process))
        and all(value is None or isinstance(value, int | float) for value in measured)
    )
