"""Lets faults strike one after the other, and waits after each until training goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.files import write_json
from tests.chaos.faults import RESTARTS_DRIVER, RESTARTS_WORKERS, NotStruckError, Scene
from tests.chaos.measured import Struck
from tests.chaos.schedule import Fault
from tests.chaos.trace import Trace

RECOVERS_SECONDS = 900.0
HANGS_SECONDS, _WORKS_SECONDS = 120.0, 8.0
"""A start with RPC faults whose processes use less CPU time than the second in so long is ended and given again."""
STALLS_SECONDS = 300.0
"""So is one that trains nothing for so long while Ray tries: its starts of workers timed out again and again once."""
_POLL_SECONDS = 0.1
_AHEAD_STEPS = 8
"""How far cells of a sweep may go beyond the step of the next fault, so that it strikes them at work."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a run or a sweep shows of itself.

    Attributes:
        processes: of rank zero of each run that is being trained or evaluated.
        step: steps taken, of all runs.
    """

    processes: frozenset[int]
    step: int


class Disturber:
    """Strikes a run or a sweep.

    Args:
        scene: what is struck.
        read: returns what is shown.
        trace: of the steps that were taken.
        is_done: whether all is done.
        may_end: exit codes with which the command may end before that.
        is_one_run: whether a fault of any worker restarts all that is trained.
        note: is given each fault that has struck, when training has gone on.
    """

    def __init__(
        self,
        scene: Scene,
        read: Callable[[], Reading],
        trace: Trace,
        is_done: Callable[[], bool],
        *,
        may_end: Sequence[int],
        is_one_run: bool,
        note: Callable[[Struck], None],
    ) -> None:
        self._scene, self._read, self._trace, self._is_done, self._keep = scene, read, trace, is_done, note
        self._may_end, self._is_one_run = tuple(may_end), is_one_run
        self.struck: list[Struck] = []
        self.hangs = 0
        self._used: list[tuple[float, float]] = []  # of the last start: at which time, how many seconds of CPUs

    def run(self, schedule: Sequence[Fault]) -> None:
        """Strike with every fault in turn, then let the command end.

        Raises:
            AssertionError: where training does not go on, or the command ends in a way that it may not.
        """
        self._allow(schedule[:1])
        self._scene.command.start()
        for number, fault in enumerate(schedule):
            self._wait(lambda step=fault.step: self._read().step >= step)
            if self._is_done():
                return
            self._allow(schedule[number + 1 : number + 2])
            before, began = self._read(), time.monotonic()
            try:
                ended = self._scene.strike(fault)
            except NotStruckError:
                continue
            self._note(fault, before, began, ended if ended and not self._is_one_run else before.processes)
        self._wait(self._is_done)

    def _allow(self, following: Sequence[Fault]) -> None:
        """Let the cells of a sweep go on to the next fault and a little further, or to their ends.

        While a worker restarts, the other cells would otherwise train to their ends before the next fault comes.
        """
        limits = self._scene.folder / "limits.json"
        if self._is_one_run or not following:
            limits.unlink(missing_ok=True)
            return
        remaining = max(0, following[0].step - self._read().step) + _AHEAD_STEPS
        furthest = self._trace.read()
        write_json(limits, {"*": remaining, **{run: steps + remaining for run, steps in furthest.items()}})

    def _note(self, fault: Fault, before: Reading, began: float, ended: frozenset[int]) -> None:
        """Wait until training goes on, and note what the fault has cost."""
        restarts = fault.kind.startswith((*RESTARTS_DRIVER, *RESTARTS_WORKERS))
        seconds = self._wait(lambda: self._goes_on(before, ended, restarts=restarts)) - began
        struck = Struck(kind=fault.kind, step=before.step, seconds=seconds, lost=self._trace.take_lost())
        self.struck.append(struck)
        self._keep(struck)
        lost = "".join(f", {steps} steps lost" for steps in struck.lost)
        print(f"{len(self.struck):4d} {fault.kind} at step {before.step}: {seconds:.1f} s{lost}", flush=True)

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
            stalls = time.monotonic() > since + STALLS_SECONDS
            if command.has_rpc_faults and (stalls or self._hangs(since)):
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

    def _hangs(self, since: float) -> bool:
        """Whether the processes of the last start do nothing: its wall time tells nothing on a busy machine."""
        now = time.monotonic()
        self._used = [each for each in self._used if each[0] >= since]
        if not self._used or now >= self._used[-1][0] + HANGS_SECONDS / 12:
            self._used.append((now, self._scene.command.cpu_seconds()))
        before = [used for at, used in self._used if at <= now - HANGS_SECONDS]
        return bool(before) and 0 <= self._used[-1][1] - before[-1] < _WORKS_SECONDS  # less: a process has ended
