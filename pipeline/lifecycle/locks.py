"""Who works on a run: one driver, and one leading worker.

The driver's lease tells a second driver at once who holds the run. The worker's lock makes a new leading worker wait
for the orphans of a killed driver, which live and may still write for a second or two. Both are locks of the operating
system, so that they end with their holder, however it ends; between hosts they are as good as the shared file system's.
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
"""Without a word from its driver for so long a run on another host counts as interrupted."""


class RunHeldError(InputError):
    """Another driver works on this run."""


@contextlib.contextmanager
def driver_lock(state_folder: Path) -> Iterator[None]:
    """Hold a run as its driver.

    Raises:
        RunHeldError: at once, naming the holder.
        InputError: when nothing can be written there.
    """
    lock = FileLock(state_folder / "driver.lock")
    mine = {"host": socket.gethostname(), "process": os.getpid(), "since": time.time()}
    try:
        state_folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        write_json(state_folder / "driver.json", mine)
    except Timeout:
        raise RunHeldError(
            f"{state_folder.name} is being run by {holder(state_folder)}",
            "Wait for it, or stop it; the same command then goes on from its last checkpoint",
        ) from None
    except OSError as error:
        lock.release()
        raise InputError(
            f"{state_folder} cannot be written: {error.strerror}",
            "Make room there, or name a folder that can with --runs (make: RUNS=)",
        ) from None
    try:
        yield
    finally:
        (state_folder / "driver.json").unlink(missing_ok=True)
        lock.release()


def update_heartbeat(state_folder: Path) -> None:
    """Freshen the driver's note, from time to time: other hosts cannot ask for its process."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(state_folder / "driver.json")


@contextlib.contextmanager
def rank_zero_lock(state_folder: Path) -> Iterator[None]:
    """Hold a run as its leading worker, waiting for an orphan of an earlier driver to end.

    Raises:
        RunHeldError: when the orphan does not end within a minute.
    """
    state_folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(state_folder / "leader.lock")
    try:
        lock.acquire(timeout=ORPHAN_WAIT_SECONDS)
    except Timeout:
        raise RunHeldError(f"{state_folder.name}: a worker of an earlier driver does not end") from None
    try:
        yield
    finally:
        lock.release()


def has_live_driver(state_folder: Path) -> bool:
    """Return whether a driver works on a run, as its note tells; on another host, as long as the note is fresh."""
    path = state_folder / "driver.json"
    note = read_json(path)
    if note is None:
        return False
    if note["host"] != socket.gethostname():
        try:
            return time.time() - path.stat().st_mtime < STALE_SECONDS
        except FileNotFoundError:  # it has just ended
            return False
    try:
        os.kill(note["process"], 0)  # asks whether there is such a process
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def holder(state_folder: Path) -> str:
    """Return in words who holds a run, as far as its note tells."""
    note = read_json(state_folder / "driver.json")
    if note is None:
        return "another process"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(note["since"]))
    return f"process {note['process']} on {note['host']} since {since}"
