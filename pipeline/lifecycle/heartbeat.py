"""The heartbeat file of a driver: which process on which host works on a run or a sweep.

    STATE/driver.json   {"host", "process", "since", "process_started"}; its time is updated once a minute

A number of a process is given to another program after it has ended, so the start of the process is compared too. A
file without it (of version 0.1) counts by `since`, which its driver wrote after it had started.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.files import read_json, write_json

STALE_SECONDS = 600.0
"""A driver on another host counts as ended when its heartbeat file is older than this."""
_CLOCK_SECONDS = 2.0
"""How much two readings of a process's start may differ: it is counted from the boot of a clock that is corrected."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """A driver. Times are seconds since 1970; `process_started` is None in files of version 0.1."""

    host: str
    process: int
    since: float
    process_started: float | None = None

    @property
    def is_here(self) -> bool:
        """Whether the driver's host is this one."""
        return self.host == socket.gethostname()

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.process} on {self.host} since {since}"


def heartbeat_path(state_folder: Path) -> Path:
    """Return the heartbeat file of a state folder."""
    return state_folder / "driver.json"


def write_heartbeat(state_folder: Path) -> None:
    """Write that this process is the driver."""
    mine = Heartbeat(
        host=socket.gethostname(),
        process=os.getpid(),
        since=time.time(),
        process_started=psutil.Process().create_time(),
    )
    write_json(heartbeat_path(state_folder), asdict(mine))


def update_heartbeat(state_folder: Path) -> None:
    """Update the time of the heartbeat file: another host cannot ask whether the driver's process exists."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(heartbeat_path(state_folder))


def read_heartbeat(state_folder: Path) -> Heartbeat | None:
    """Return the driver that the heartbeat file names, or None where there is no file or it is damaged."""
    values = read_json(heartbeat_path(state_folder))
    return heartbeat_of(values) if isinstance(values, dict) else None


def heartbeat_of(values: Mapping[str, Any]) -> Heartbeat | None:
    """Return the driver that the values of a heartbeat file name, or None where they name none."""
    host, process, since = values.get("host"), values.get("process"), values.get("since")
    started = values.get("process_started")
    if not isinstance(host, str) or type(process) is not int or not isinstance(since, int | float):
        return None
    return Heartbeat(
        host=host,
        process=process,
        since=float(since),
        process_started=float(started) if isinstance(started, int | float) else None,
    )


def driver_process(heartbeat: Heartbeat) -> psutil.Process | None:
    """Return the driver's process on this host, or None where it has ended, its number reused or not."""
    if heartbeat.process <= 1:  # 0 and negative numbers address groups of processes
        return None
    try:
        process = psutil.Process(heartbeat.process)
        started = process.create_time()
    except psutil.Error:
        return None
    if heartbeat.process_started is None:
        return process if started <= heartbeat.since + _CLOCK_SECONDS else None
    return process if abs(started - heartbeat.process_started) <= _CLOCK_SECONDS else None


def has_live_driver(state_folder: Path) -> bool:
    """Return whether a driver works on a run by its heartbeat file; from another host, only the file's age counts."""
    heartbeat = read_heartbeat(state_folder)
    if heartbeat is None:
        return False
    if heartbeat.is_here:
        return driver_process(heartbeat) is not None
    try:
        return time.time() - heartbeat_path(state_folder).stat().st_mtime < STALE_SECONDS
    except FileNotFoundError:  # the driver has just ended
        return False
