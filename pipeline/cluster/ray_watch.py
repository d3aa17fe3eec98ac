"""Notices that a private Ray has died: otherwise its driver waits for a minute or without end, and exits with 1."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

import psutil

from pipeline.failures import RunError
from pipeline.lifecycle.signals import TerminatedError

_NAMES = ("gcs_server", "raylet")
_POLL_SECONDS = 0.5
_UNWIND_SECONDS = 5.0
_MESSAGE = (
    "Ray has died (gcs_server or raylet was killed, as a host does that is out of memory); "
    "the same command goes on from the last checkpoint"
)
_FAILED = 3


class RayLostError(RunError):
    """A private Ray has died; Ray must not be called any more, not even to shut it down."""


@contextlib.contextmanager
def watched_ray() -> Iterator[None]:
    """Watch the processes of a private Ray while the block lasts, and end the block when one of them dies.

    Raises:
        RayLostError: when one has died.
    """
    servers = [child for child in psutil.Process().children() if child.name() in _NAMES]
    dead: list[psutil.Process] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            dead.extend(server for server in servers if not _is_alive(server))
            if dead:
                # As if SIGTERM had come: within `termination_raises` it ends a wait inside Ray's core.
                _thread.interrupt_main(signal.SIGTERM)
                if not ended.wait(_UNWIND_SECONDS):  # Tune asks the dead Ray to end its trials, and waits for it
                    print(_MESSAGE, file=sys.stderr, flush=True)
                    _kill_ray(servers)
                    os._exit(_FAILED)
                return

    watcher = threading.Thread(target=watch, daemon=True, name="ray watch")
    watcher.start()
    try:
        yield
    except (Exception, KeyboardInterrupt, TerminatedError) as error:
        if not dead and not any(not _is_alive(server) for server in servers):
            raise
        _leave_ray(servers)
        raise RayLostError(_MESSAGE) from error
    finally:
        ended.set()
        watcher.join()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _leave_ray(servers: Sequence[psutil.Process]) -> None:
    """End what is left of a private Ray, and keep its library from waiting for it at the exit of Python."""
    _kill_ray(servers)

    def exit_now() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(_FAILED)

    atexit.register(exit_now)  # runs before Ray's own handler, which was registered earlier


def _kill_ray(servers: Sequence[psutil.Process]) -> None:
    """Kill the processes of a private Ray: started by this one, and of no use without its servers."""
    processes = [process for process in psutil.Process().children(recursive=True) if _belongs_to_ray(process)]
    for process in {*processes, *servers}:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _belongs_to_ray(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return command.startswith("ray::") or "/ray/" in command
