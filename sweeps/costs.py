"""Costs at the paper's scale, which its tables print even before anything was trained."""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.cost.flops import measure_planned_cost, write_costs
from pipeline.intact_tables import is_intact, warn_if_damaged
from pipeline.recipes import default_run
from pipeline.records import COST_SCHEMA, cost_path, read_table
from sharedris.baselines.config import ComparedModelConfig
from sweeps.spec import Sweep, cells_of

log = logging.getLogger(__name__)
PAPER_SCALE = "base"


def paper_models(sweep: Sweep) -> list[ComparedModelConfig]:
    """Return the sweep's distinct models at the scale of the paper's tables."""

    def make_default(seed: int, scale: str | None) -> RunConfig:
        return default_run(scale=scale or PAPER_SCALE, seed=seed)

    models = {cell.config.model: None for cell in cells_of(sweep, make_default, (0,)) if cell.config is not None}
    return list(models)


def cost_of(model: ComparedModelConfig, runs_root: Path) -> tuple[float, float]:
    """Return (million parameters, GMACs) of a model, from its file below RUNS/costs if it exists.

    A full system takes half a minute to measure at the paper's size, and a plan asks for many.

    Raises:
        InputError: where the cost of a plugin's module cannot be counted.
    """
    path, encoder = cost_path(runs_root, model.scale, model.variant), model.encoder
    if not is_intact(path, COST_SCHEMA):
        measure_planned_cost(model)  # for its error; the parts of a model are measured once per process
        write_costs(runs_root, [model])
    rows = read_table(path, COST_SCHEMA)
    if set(rows["image_size"]) != {encoder.image_size} or set(rows["text_tokens"]) != {encoder.text_tokens}:
        costs = measure_planned_cost(model)  # the file holds another size of this variant
        return sum(cost.million_params for cost in costs), sum(cost.gmacs for cost in costs)
    return float(rows["million_params"].sum()), float(rows["gmacs"].sum())


def write_paper_costs(sweep: Sweep, runs_root: Path) -> int:
    """Measure the models that have no file below RUNS/costs; return how many were measured.

    A model whose cost cannot be counted is left out, with a warning.
    """
    models = paper_models(sweep)
    missing = [model for model in models if not _is_measured(model, runs_root)]
    return sum(_try_to_write(model, runs_root) for model in missing)


def _is_measured(model: ComparedModelConfig, runs_root: Path) -> bool:
    path = cost_path(runs_root, model.scale, model.variant)
    warn_if_damaged(path, COST_SCHEMA)
    return is_intact(path, COST_SCHEMA)


def _try_to_write(model: ComparedModelConfig, runs_root: Path) -> bool:
    """Measure one model; a module with an operator that cannot be counted has no cost, and fails no sweep."""
    try:
        write_costs(runs_root, [model])
    except Exception as error:  # fvcore traces code that a plugin wrote
        log.warning("%s: no costs: %s", model.variant, " ".join(f"{type(error).__name__}: {error}".split()))
        return False
    return True
