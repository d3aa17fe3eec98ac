"""Writes checkpoints off the training thread: a step waits for a copy of the state in memory, and not for the disk.

One write at a time: the next checkpoint waits for the one before, so that at most one copy of the state exists.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Calls one function after the other in a thread; an error is raised where the next one is given, or at the end."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def give(self, write: Callable[[], None]) -> None:
        """Wait for the write before, then start this one.

        Raises:
            Exception: what the write before has raised; this one is not started.
        """
        self.finish()
        # Not a daemon: a process that ends by itself waits for a half-written checkpoint.
        self._thread = threading.Thread(target=self._call, args=(write,), name="checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Wait for the write that was given last.

        Raises:
            Exception: what it has raised, once.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _call(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:  # all of it belongs to the training thread
            self._error = error
