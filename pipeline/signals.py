"""SIGTERM unwinds like Ctrl-C, so that files are closed, runs ended in MLflow and leases given back."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class TerminatedError(BaseException):
    """SIGTERM: leave a resumable state and go."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Raise TerminatedError in the main thread on SIGTERM.

    Enter it after Ray was started: Ray puts its own handler in place.
    """

    def unwind(number: int, frame: Any) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
