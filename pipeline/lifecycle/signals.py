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
    """Raise TerminatedError out of the block on SIGTERM.

    Enter it after Ray was started: Ray puts its own handler in place. Within the block the signal is a
    KeyboardInterrupt, the only exception that ends a wait inside Ray's core: another one is lost there, and the wait
    goes on. Ctrl-C raises the same; with a handler that is not Python's own asyncio leaves it alone, whose handler
    would only ask the controller to stop at its next await.
    """
    received = False

    def unwind(number: int, frame: Any) -> None:
        nonlocal received
        received = received or number == signal.SIGTERM
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else a shell has it ignored (`... &`)
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, unwind) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        if received:
            raise TerminatedError from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
