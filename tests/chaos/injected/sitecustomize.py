"""Loaded by every Python process of a disturbed command: aborts collectives and moves the clock, as files say.

    CHAOS_FOLDER/abort-at      RANK STEP: from this step on, the process group of this rank is destroyed once
    CHAOS_FOLDER/clock         seconds by which `time.time` differs from the clock of this machine
    CHAOS_FOLDER/limits.json   {RUN: STEP}: a run waits after this step; a run that is not named, after that of "*"
    CHAOS_FOLDER/steps         RUN PROCESS STEPS: written after each step of rank zero

libfaketime 0.9.10 cannot move the clock of all code: without its change of the monotonic clock, `time.sleep` of
Python 3.11 fails (EINVAL), and with it the timeouts of Ray jump too.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_TRAINER = "pipeline.training.trainer"


class _DisturbsSteps(importlib.abc.MetaPathFinder):
    """Wraps a step, and what is asked after it outside of its time, when the trainer is imported."""

    def __init__(self, folder: Path) -> None:
        self._path, self._limits, self._steps = folder / "abort-at", folder / "limits.json", folder / "steps"

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _TRAINER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_wrap(module: ModuleType) -> None:
            load(module)
            module.train_step = self._wrapped(module.train_step)  # type: ignore[attr-defined]
            module._is_asked_to_save = self._followed(module._is_asked_to_save)  # type: ignore[attr-defined]

        spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign]
        return spec

    def _wrapped(self, step_once: Callable[..., Any]) -> Callable[..., Any]:
        def disturbed(*arguments: Any, **options: Any) -> Any:
            self._abort(options["worker"].rank, options["step"])
            return step_once(*arguments, **options)

        return disturbed

    def _followed(self, ask: Callable[..., bool]) -> Callable[..., bool]:
        def followed(job: Any, worker: Any, steps: int) -> bool:
            if worker.rank == 0:
                with self._steps.open("ab", buffering=0) as stream:
                    stream.write(f"{job.run_id} {os.getpid()} {steps}\n".encode())
                while steps >= self._limit(job.run_id):
                    time.sleep(0.1)
            return ask(job, worker, steps)

        return followed

    def _limit(self, run_id: str) -> float:
        try:
            limits = json.loads(self._limits.read_text())
        except (OSError, ValueError):
            return float("inf")
        return float(limits.get(run_id, limits["*"]))

    def _abort(self, rank: int, step: int) -> None:
        """Destroy this rank's process group: the others are inside of a collective of this step, or come to it."""
        try:
            wanted_rank, wanted_step = map(int, self._path.read_text().split())
        except (OSError, ValueError):
            return
        if rank == wanted_rank and step >= wanted_step:
            self._path.unlink()
            import torch.distributed as dist

            dist.destroy_process_group()


def _move_clock(path: Path) -> None:
    """Let `time.time` follow the file, which is read twice a second at most."""
    real, elapsed = time.time, time.monotonic
    offset, due = 0.0, 0.0

    def moved() -> float:
        nonlocal offset, due
        if elapsed() >= due:
            due = elapsed() + 0.5
            try:
                offset = float(path.read_text())
            except (OSError, ValueError):
                offset = 0.0
        return real() + offset

    time.time = moved


if _folder := os.environ.get("CHAOS_FOLDER"):
    sys.meta_path.insert(0, _DisturbsSteps(Path(_folder)))
    _move_clock(Path(_folder) / "clock")
