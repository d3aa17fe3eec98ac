"""From a sweep to jobs: its cells, and which of them are done. Starts nothing and does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from sharedris.errors import InputError
from sweeps.spec import Cell, Sweep, cells_of


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with its job; None where the row is not built, or where `problem` names why it cannot run."""

    cell: Cell
    job: Job | None
    problem: str = ""

    @property
    def state(self) -> str:
        """`done`, `missing`, `not built`, or `no data` where its data is not prepared."""
        if self.cell.config is None:
            return "not built"
        if self.job is None:
            return "no data"
        return "done" if self.job.done else "missing"


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """All cells of a sweep with their states."""

    sweep: Sweep
    cells: tuple[PlannedCell, ...]
    runs_root: Path

    @property
    def rows(self) -> int:
        """Rows of the tables times seeds, built or not."""
        return sum(len(planned.cell.names) for planned in self.cells)

    def in_state(self, state: str) -> list[PlannedCell]:
        """Return the cells in one state."""
        return [planned for planned in self.cells if planned.state == state]


def plan_sweep(
    sweep: Sweep,
    make_default: Callable[[int, str | None], RunConfig],
    execution: ExecutionConfig,
    *,
    seeds: range | tuple[int, ...],
    provenance: Mapping[str, Any] | None = None,
    tolerant: bool = False,
) -> SweepPlan:
    """Return the plan, with every configuration validated.

    Args:
        make_default: (seed, the row's own scale or None) -> the default configuration.
        tolerant: keep cells whose data is missing, with the problem in words, instead of raising.

    Raises:
        InputError: for a cell that cannot be configured, or missing data.
    """
    try:
        cells = cells_of(sweep, make_default, seeds)
    except ValueError as error:
        raise InputError(str(error), "Correct the sweep's file") from None
    planned = []
    for cell in cells:
        job, problem = None, ""
        try:
            if cell.config is not None:
                job = resolve_job(cell.config, execution, cells=cell.names, provenance=provenance)
        except InputError as error:
            if not tolerant:
                raise
            problem = str(error)
        planned.append(PlannedCell(cell=cell, job=job, problem=problem))
    return SweepPlan(sweep=sweep, cells=tuple(planned), runs_root=Path(execution.runs_root).resolve())


def sweep_folder(plan: SweepPlan) -> Path:
    """Return the state folder of a sweep: its driver's lock and heartbeat file."""
    return plan.runs_root / "sweeps" / plan.sweep.name


def open_marker(plan: SweepPlan) -> Path:
    """Return the marker file that exists until all runs of this sweep are closed in MLflow.

    Where it exists and no driver runs the sweep, a driver was stopped or MLflow did not answer.
    """
    return sweep_folder(plan) / "open-in-mlflow"
