"""Lets faults strike one after the other, and waits after each until training goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.chaos.faults import RESTARTS_DRIVER, RESTARTS_WORKERS, NotStruckError, Scene
from tests.chaos.measured import Struck
from tests.chaos.schedule import Fault

RECOVERS_SECONDS = 600.0
HANGS_SECONDS = 120.0
"""After which a start with RPC faults is ended and given again: Ray forgets workers whose end it did not hear."""
_POLL_SECONDS = 0.1
_RESUMED = re.compile(r"resumed after epoch \d+, step (\d+)")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a run or a sweep shows of itself.

    Attributes:
        processes: of rank zero of each run that is being trained or evaluated.
        step: steps taken, of all runs.
        resumed: steps of the checkpoints that a single run went on from.
    """

    processes: frozenset[int]
    step: int
    resumed: tuple[int, ...] = ()


def resumed_steps(log: str) -> tuple[int, ...]:
    """Return the steps of all checkpoints that a run's log says it went on from."""
    return tuple(int(step) for step in _RESUMED.findall(log))


class Disturber:
    """Strikes a run or a sweep.

    Args:
        scene: what is struck.
        read: returns what is shown.
        is_done: whether all is done.
        may_end: exit codes with which the command may end before that.
        is_one_run: whether a fault of any worker restarts all that is trained.
    """

    def __init__(
        self,
        scene: Scene,
        read: Callable[[], Reading],
        is_done: Callable[[], bool],
        *,
        may_end: Sequence[int],
        is_one_run: bool,
    ) -> None:
        self._scene, self._read, self._is_done = scene, read, is_done
        self._may_end, self._is_one_run = tuple(may_end), is_one_run
        self.struck: list[Struck] = []
        self.hangs = 0

    def run(self, schedule: Sequence[Fault]) -> None:
        """Strike with every fault in turn, then let the command end.

        Raises:
            AssertionError: where training does not go on, or the command ends in a way that it may not.
        """
        self._scene.command.start()
        for fault in schedule:
            self._wait(lambda step=fault.step: self._read().step >= step)
            if self._is_done():
                return
            before, began = self._read(), time.monotonic()
            try:
                ended = self._scene.strike(fault)
            except NotStruckError:
                continue
            self._note(fault, before, began, ended if ended and not self._is_one_run else before.processes)
        self._wait(self._is_done)

    def _note(self, fault: Fault, before: Reading, began: float, ended: frozenset[int]) -> None:
        """Wait until training goes on, and note what the fault has cost."""
        restarts = fault.kind.startswith((*RESTARTS_DRIVER, *RESTARTS_WORKERS))
        seconds = self._wait(lambda: self._goes_on(before, ended, restarts=restarts)) - began
        after, lost = self._read(), None
        if self._is_one_run and after.processes != before.processes:
            resumed = after.resumed[-1] if len(after.resumed) > len(before.resumed) else 0
            lost = max(0, before.step - resumed)
        self.struck.append(Struck(kind=fault.kind, step=before.step, seconds=seconds, lost=lost))
        print(f"{len(self.struck):4d} {fault.kind} at step {before.step}: {seconds:.1f} s, lost {lost}", flush=True)

    def _goes_on(self, before: Reading, ended: frozenset[int], *, restarts: bool) -> bool:
        now = self._read()
        if self._is_done():
            return True
        has_restarted = bool(now.processes) and ended.isdisjoint(now.processes)
        return has_restarted or (not restarts and now.step > before.step)

    def _wait(self, is_there: Callable[[], bool]) -> float:
        """Wait, giving the command again whenever it ends too early; return when it was there.

        The limit counts from the last start: a disturbed command may fail several times in a row.
        """
        command, began = self._scene.command, time.monotonic()
        while not is_there():
            since = max(began, command.started)
            assert time.monotonic() < since + RECOVERS_SECONDS, f"training does not go on:\n{command.output[-5000:]}"
            if command.has_rpc_faults and time.monotonic() > since + HANGS_SECONDS:
                self.hangs += 1
                command.process.kill()
                command.process.wait()
            if not command.is_alive():
                if self._is_done():
                    break
                code = command.process.returncode
                assert code in self._may_end, f"ended with {code}:\n{command.output[-5000:]}"
                command.start()
            time.sleep(_POLL_SECONDS)
        return time.monotonic()
