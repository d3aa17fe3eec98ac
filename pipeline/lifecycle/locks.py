"""Locks on a run: one driver, and one worker of rank zero.

The driver's lock refuses a second driver at once and names the holder. The lock of rank zero makes a new worker wait
for the orphans of a killed driver, which may still write for a second or two. The operating system releases both when
their process ends, however it ends; between hosts they are as reliable as the locks of the shared file system. Where
runs live in an object store, these locks hold on one machine, and the driver holds a lease in the store as well.

    driver.lock     the driver's lock; next to it `driver.json`, the heartbeat file
    leader.lock     the lock of rank zero
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.lifecycle.heartbeat import heartbeat_path, read_heartbeat, write_heartbeat
from pipeline.lifecycle.lease import RunHeldError, lease_of
from sharedris.errors import InputError

__all__ = ["RunHeldError", "driver_lock", "rank_zero_lock"]
ORPHAN_WAIT_SECONDS = 60.0


@contextlib.contextmanager
def driver_lock(state_folder: Path) -> Iterator[None]:
    """Lock a run as its driver, and write the heartbeat file.

    Raises:
        RunHeldError: at once, naming the holder.
        InputError: when the folder cannot be written.
    """
    lock = FileLock(state_folder / "driver.lock")
    try:
        state_folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        write_heartbeat(state_folder)
    except Timeout:
        raise RunHeldError(
            f"{state_folder.name} is being run by {read_heartbeat(state_folder) or 'another process'}",
            "Wait for it, or stop it; the same command then goes on from its last checkpoint",
        ) from None
    except OSError as error:
        lock.release()
        raise InputError(
            f"{state_folder} cannot be written: {error.strerror}",
            "Free some space, or set --runs (make: RUNS=) to a folder that can be written",
        ) from None
    try:
        with lease_of(state_folder):
            yield
    finally:
        heartbeat_path(state_folder).unlink(missing_ok=True)
        lock.release()


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
