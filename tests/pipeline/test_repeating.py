"""An action is repeated while the block lasts, and never after it, however the block ends."""

from __future__ import annotations

import contextlib
import threading

import pytest

from pipeline.repeating import repeated


@pytest.mark.parametrize("fails", [False, True])
def test_the_action_ends_with_the_block(fails: bool) -> None:
    calls, twice = [], threading.Event()

    def act() -> None:
        calls.append(threading.current_thread().name)
        if len(calls) >= 2:
            twice.set()

    ending = pytest.raises(RuntimeError) if fails else contextlib.nullcontext()
    with ending, repeated(act, 0.001, name="acts"):
        assert twice.wait(10)
        if fails:
            raise RuntimeError
    assert "acts" not in {thread.name for thread in threading.enumerate()}
    assert set(calls) == {"acts"}
