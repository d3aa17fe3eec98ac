"""Locks on a run: one driver, and one worker of rank zero.

The driver's lock refuses a second driver at once and names the holder. The lock of rank zero makes a new worker wait
for the orphans of a killed driver, which may still write for a second or two. The operating system releases both when
their process ends, however it ends; between hosts they are as reliable as the locks of the shared file system.

    driver.lock, driver.json    the driver's lock, and its heartbeat file: host, process, start
    leader.lock                 the lock of rank zero
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.files import read_json, write_json
from sharedris.errors import InputError

ORPHAN_WAIT_SECONDS = 60.0
STALE_SECONDS = 600.0
"""A run on another host counts as interrupted when its heartbeat file is older than this."""


class RunHeldError(InputError):
    """Another driver works on this run."""


@contextlib.contextmanager
def driver_lock(state_folder: Path) -> Iterator[None]:
    """Lock a run as its driver, and write the heartbeat file.

    Raises:
        RunHeldError: at once, naming the holder.
        InputError: when the folder cannot be written.
    """
    lock = FileLock(state_folder / "driver.lock")
    heartbeat = {"host": socket.gethostname(), "process": os.getpid(), "since": time.time()}
    try:
        state_folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        write_json(state_folder / "driver.json", heartbeat)
    except Timeout:
        raise RunHeldError(
            f"{state_folder.name} is being run by {holder(state_folder)}",
            "Wait for it, or stop it; the same command then goes on from its last checkpoint",
        ) from None
    except OSError as error:
        lock.release()
        raise InputError(
            f"{state_folder} cannot be written: {error.strerror}",
            "Free some space, or set --runs (make: RUNS=) to a folder that can be written",
        ) from None
    try:
        yield
    finally:
        (state_folder / "driver.json").unlink(missing_ok=True)
        lock.release()


def update_heartbeat(state_folder: Path) -> None:
    """Update the time of the heartbeat file: another host cannot ask whether the driver's process exists."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(state_folder / "driver.json")


@contextlib.contextmanager
def rank_zero_lock(state_folder: Path) -> Iterator[None]:
    """Lock a run as its worker of rank zero, and wait for an orphan of an earlier driver to end.

    Without the wait, the orphan and the new worker write the same checkpoints at the same time.

    Raises:
        RunHeldError: when the orphan does not end within a minute.
    """
    state_folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(state_folder / "leader.lock")
    try:
        lock.acquire(timeout=ORPHAN_WAIT_SECONDS)
    except Timeout:
        raise RunHeldError(
            f"{state_folder.name}: a worker of an earlier driver has not ended after {ORPHAN_WAIT_SECONDS:.0f} s",
            "Look for its process (RayTrainWorker) and end it",
        ) from None
    try:
        yield
    finally:
        lock.release()


def has_live_driver(state_folder: Path) -> bool:
    """Return whether a driver works on a run by its heartbeat file; from another host, only the file's age counts."""
    path = state_folder / "driver.json"
    heartbeat = read_json(path)
    if heartbeat is None:
        return False
    if heartbeat["host"] != socket.gethostname():
        try:
            return time.time() - path.stat().st_mtime < STALE_SECONDS
        except FileNotFoundError:  # the driver has just ended
            return False
    try:
        os.kill(heartbeat["process"], 0)  # no signal; asks whether the process exists
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists and belongs to another user
        return True
    return True


def holder(state_folder: Path) -> str:
    """Return in words who holds a run, by its heartbeat file."""
    heartbeat = read_json(state_folder / "driver.json")
    if heartbeat is None:
        return "another process"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(heartbeat["since"]))
    return f"process {heartbeat['process']} on {heartbeat['host']} since {since}"
