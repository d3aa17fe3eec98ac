"""SIGTERM unwinds like Ctrl-C, so that files are closed, runs are ended in MLflow and locks are released."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class TerminatedError(BaseException):
    """SIGTERM: leave a resumable state and end."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Raise TerminatedError out of the block on SIGTERM.

    Enter it after Ray was started: Ray installs its own handler. Inside the block the signal is a KeyboardInterrupt,
    the only exception that ends a wait inside Ray's core; another one is lost there, and the wait goes on.
    """
    received = False

    def unwind(number: int, frame: Any) -> None:
        nonlocal received
        received = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    except KeyboardInterrupt:
        if received:
            raise TerminatedError from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
