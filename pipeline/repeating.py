"""An action that a thread repeats while a block lasts, such as reading a file that another process writes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def repeated(action: Callable[[], object], seconds: float, *, name: str) -> Iterator[None]:
    """Call an action every few seconds in a daemon thread; when the block ends, the call that runs is waited for.

    Args:
        action: handles its own errors: one that it raises ends the thread.
        seconds: between the end of a call and the next one; the first comes after them.
        name: of the thread.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True, name=name)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
