"""Stops the driver of a run or a sweep, and no other process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from pipeline.lifecycle.heartbeat import Heartbeat, driver_process, heartbeat_path, read_heartbeat
from pipeline.object_store.address import origin_of
from sharedris.errors import InputError


def stop_driver(state_folder: Path, name: str) -> str:
    """Send SIGTERM to the driver that holds a state folder; return in words what was done.

    The lock is asked first: a heartbeat file stays behind when a driver is killed, and the number in it then belongs
    to nothing or to another program.

    Raises:
        InputError: when no driver runs here, or the process is not one that may be signalled; names the reason.
    """
    heartbeat = read_heartbeat(state_folder)
    elsewhere = heartbeat is not None and not heartbeat.is_here and origin_of(state_folder.parent.parent) is not None
    # Of a run in an object store that another host drives, the lock of this host tells nothing.
    if not elsewhere and _lock_is_free(state_folder):
        if heartbeat is None:
            raise InputError(f"no driver runs {name}", "Nothing to stop")
        return f"the driver of {name} (process {heartbeat.process}) had ended already; the same `run` goes on"
    if heartbeat is None:
        raise InputError(f"{name} is locked by a driver whose heartbeat file cannot be read", "Look for its process")
    if not heartbeat.is_here:
        raise InputError(f"{name} runs on {heartbeat.host}", f"Run this there: kill {heartbeat.process}")
    process = _own_process(heartbeat, name)
    process.send_signal(signal.SIGTERM)
    return f"asked process {process.pid} to end; the same `run` goes on from the last checkpoints"


def _lock_is_free(state_folder: Path) -> bool:
    """Whether no driver holds the folder; removes the heartbeat file of a driver that was killed."""
    if not state_folder.is_dir():
        return True
    lock = FileLock(state_folder / "driver.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError as error:
        raise InputError(f"{state_folder} cannot be locked: {error.strerror}", "Ask the owner of the runs") from None
    heartbeat_path(state_folder).unlink(missing_ok=True)
    lock.release()
    return True


def _own_process(heartbeat: Heartbeat, name: str) -> psutil.Process:
    """Return the driver's process after making sure that it is the driver and belongs to this user.

    Raises:
        InputError: else.
    """
    process = driver_process(heartbeat)
    if process is None or process.pid == os.getpid():
        raise InputError(
            f"{name} is locked, but process {heartbeat.process} is not its driver",
            "Its driver may run in a container or on a host of the same name: stop it there",
        )
    if process.uids().real != os.getuid():
        raise InputError(f"the driver of {name} belongs to {process.username()}", "Ask this user to stop it")
    return process
