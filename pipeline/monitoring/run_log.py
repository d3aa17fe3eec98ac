"""The log file of a run: every worker appends to it, and the driver prints what workers on any node have logged.

    RUNS/state/RUN/run.log      one line per record: time, level, rank, writer, logger, message; separated by tabs

Ray does not forward the output of its workers, so this file does. `pipeline.monitoring.run_monitor` reads it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.monitoring.console_log import own_handler

_FIELDS = 6


def _log_path(state_folder: Path) -> Path:
    return state_folder / "run.log"


def _writer() -> str:
    """Return an id of this process among all writers of the file."""
    return f"{socket.gethostname()}:{os.getpid()}"


class RunLogHandler(logging.Handler):
    """Appends each record to the log file of a run.

    Args:
        state_folder: of the run.
        rank: of this worker.
        world_size: number of workers.
    """

    def __init__(self, state_folder: Path, *, rank: int, world_size: int) -> None:
        super().__init__()
        self._path = _log_path(state_folder)
        self._rank = f"{rank}/{world_size}"

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line. On a full disk the line is lost, and the run goes on."""
        message = record.getMessage().replace("\t", " ").replace("\r", " ").replace("\n", " | ")
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        line = "\t".join((when, record.levelname, self._rank, _writer(), record.name, message))
        # One write of a whole line in append mode, so that lines of several workers do not mix.
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(line + "\n")


@contextlib.contextmanager
def log_to_run(state_folder: Path, *, rank: int, world_size: int) -> Iterator[None]:
    """Write the project's log records into the run's log file while the block lasts."""
    with own_handler(RunLogHandler(state_folder, rank=rank, world_size=world_size), logging.INFO):
        yield


class RunLogTail:
    """Reads the records that other processes have added to a run's log file since this object was made."""

    def __init__(self, state_folder: Path) -> None:
        self._path = _log_path(state_folder)
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def log_new(self) -> None:
        """Log the new records of other processes here, under their own logger and level, with the rank in front.

        Records of this process are skipped, since its own handlers have printed them. What all ranks log alike is
        printed once: below warnings, records of ranks other than 0 become debug records.
        """
        levels = logging.getLevelNamesMapping()
        for _, level, rank, writer, name, message in self._new():
            if writer == _writer():
                continue
            number, _, world_size = rank.partition("/")
            severity = levels.get(level, logging.INFO)
            if number != "0" and severity < logging.WARNING:
                severity = logging.DEBUG
            place = "" if world_size == "1" else f"rank {number}: "
            logging.getLogger(name).log(severity, "%s%s", place, message)

    def _new(self) -> list[list[str]]:
        """Return the fields of the complete lines that were not returned before."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                content = stream.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = [line.split("\t", _FIELDS - 1) for line in whole.decode(errors="replace").splitlines()]
        return [fields for fields in lines if len(fields) == _FIELDS]
