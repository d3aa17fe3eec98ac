"""Costs at the paper's scale, which stand in its tables whether or not anything was trained."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.cost import write_costs
from pipeline.presets import default_run
from pipeline.records import cost_path
from sharedris.config import ModelConfig
from sweeps.plan import SweepPlan
from sweeps.spec import cells_of

PAPER_SCALE = "base"


def paper_models(plan: SweepPlan) -> list[ModelConfig]:
    """Return the sweep's distinct models at the scale of the paper's ablations."""

    def make_default(seed: int, scale: str | None) -> RunConfig:
        return default_run(scale=scale or PAPER_SCALE, seed=seed)

    cells = cells_of(plan.sweep, make_default, (0,))
    return [cell.config.model for cell in cells if cell.config is not None]


def write_paper_costs(plan: SweepPlan, execution: ExecutionConfig) -> None:
    """Measure what is not measured yet, below RUNS/costs."""
    root = Path(execution.runs_root)
    missing = [m for m in paper_models(plan) if not cost_path(root, m.scale, m.variant).exists()]
    if missing:
        write_costs(root, missing)
