"""SIGTERM and SIGHUP unwind like Ctrl-C, so that files are closed, runs are ended in MLflow and locks are released."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class TerminatedError(BaseException):
    """SIGTERM or SIGHUP: leave a resumable state and end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        """What a shell reports for a program that the signal has ended."""
        super().__init__(signal.Signals(number).name)


@contextlib.contextmanager
def termination_raises() -> Iterator[None]:
    """Raise TerminatedError out of the block on SIGTERM or SIGHUP.

    Enter it again after Ray was started: Ray installs its own handler. Inside the block the signal is a
    KeyboardInterrupt, the only exception that ends a wait inside Ray's core; another one is lost there, and the wait
    goes on. A signal that is ignored stays ignored: `nohup` ignores SIGHUP.
    """
    received: int | None = None

    def unwind(number: int, frame: Any) -> None:
        nonlocal received
        received = number
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, unwind)
    try:
        yield
    except KeyboardInterrupt:
        if received is not None:
            raise TerminatedError(received) from None
        raise
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: installed by a library outside of Python
                signal.signal(number, handler)
