"""What a sweep takes: steps, worker-hours, money and disk, before anything is started.

The rate is given, or measured by a few training steps on this machine. fvcore counts the work of a cell, so that one
rate serves every cell.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.cost.estimate import count_samples
from pipeline.cost.flops import measure_planned_cost
from pipeline.cost.planned_time import plan_step
from pipeline.cost.step_timing import StepShape, make_step
from pipeline.cost.utilization import FLOPS_PER_MAC, TRAINING_FACTOR
from pipeline.recipes import PAPERS_SAMPLES, default_run
from pipeline.training.schedule import plan_steps
from sweeps.costs import cost_of
from sweeps.plan import SweepPlan
from sweeps.spec import cells_of

PAPER_GPUS = 8
_BYTES_PER_PARAMETER = 4
_BYTES_PER_SAMPLE_ROW = 400
"""A row per expression with its predicted mask as RLE; measured on the toy sets, larger for large images."""
_WARM_UP_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class CellCost:
    """The work of one cell, or the sum over several."""

    steps: int = 0
    gmacs: float = 0.0
    disk_mib: float = 0.0
    peak_state_mib: float = 0.0

    def __add__(self, other: CellCost) -> CellCost:
        return CellCost(
            steps=self.steps + other.steps,
            gmacs=self.gmacs + other.gmacs,
            disk_mib=self.disk_mib + other.disk_mib,
            peak_state_mib=max(self.peak_state_mib, other.peak_state_mib),
        )

    def worker_seconds(self, gflops: float) -> float:
        """Return the seconds of one worker at a sustained rate in GFLOP/s (two per multiply-accumulate)."""
        return self.gmacs * FLOPS_PER_MAC / gflops


def cell_cost_of(config: RunConfig, prepared_root: str, runs_root: Path) -> CellCost:
    """Return what training and evaluating one cell takes.

    Raises:
        InputError: for a set that is not prepared and has no published size.
    """
    counts = count_samples(config, prepared_root)
    plan = plan_steps(config.train, counts.training)
    million_params, forward = cost_of(config.model, runs_root)
    weights_mib = million_params * 1e6 * _BYTES_PER_PARAMETER / 2**20
    return CellCost(
        steps=plan.steps,
        gmacs=forward * (TRAINING_FACTOR * plan.samples_per_epoch * plan.epochs + counts.evaluated),
        disk_mib=weights_mib + counts.evaluated * _BYTES_PER_SAMPLE_ROW / 2**20,
        peak_state_mib=3 * 3 * weights_mib,  # weights and two moments, of three checkpoints while the third is written
    )


def total(costs: Sequence[CellCost]) -> CellCost:
    """Return the sum."""
    return sum(costs, CellCost())


def measure_gflops(config: RunConfig) -> float:
    """Return the sustained rate in GFLOP/s of training steps of this config, measured here for some seconds.

    In the run's own precision. One thread computes, as in a CPU worker.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = min(8, config.train.global_batch_size)
    shape = StepShape(model=config.model, micro_batch_size=batch, precision=config.train.precision)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step = make_step(shape, device, optimizes=False)
        step()
        started, steps = time.perf_counter(), 0
        while steps < 2 or time.perf_counter() - started < _WARM_UP_SECONDS:
            step()
            steps += 1
        seconds = (time.perf_counter() - started) / steps
    finally:
        torch.set_num_threads(threads)
    forward = sum(cost.gmacs for cost in measure_planned_cost(config.model))
    return forward * TRAINING_FACTOR * FLOPS_PER_MAC * batch / seconds


def roofline_gflops(gpu: str) -> tuple[float, str]:
    """Return the rate of one of the paper's GPUs in the paper's recipe by the roofline, and what it rests on.

    One rate serves every cell: that of the default base model.

    Raises:
        InputError: for a GPU that is not in the table of devices.
    """
    config = default_run(scale="base", train_sets=("refcoco+_unc",), seed=0)
    where = ExecutionConfig(workers=PAPER_GPUS, micro_batch_size=PAPERS_SAMPLES, accelerator_type=gpu)
    step = plan_step(config, where)
    forward = sum(cost.gmacs for cost in measure_planned_cost(config.model))
    work = forward * TRAINING_FACTOR * FLOPS_PER_MAC * config.train.global_batch_size
    return work / step.seconds / PAPER_GPUS, step.rests_on


def paper_cost(plan: SweepPlan, prepared_root: str) -> tuple[int, CellCost]:
    """Return the number of cells at the paper's scale and recipe on RefCOCO+, seeds included, and their cost."""

    def make_default(seed: int, scale: str | None) -> RunConfig:
        return default_run(scale=scale or "base", train_sets=("refcoco+_unc",), seed=seed)

    seeds = tuple(sorted({planned.cell.seed for planned in plan.cells}))
    configs = [cell.config for cell in cells_of(plan.sweep, make_default, seeds) if cell.config is not None]
    return len(configs), total([cell_cost_of(config, prepared_root, plan.runs_root) for config in configs])
