"""The plan that the options of a command over one sweep describe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pipeline.cli.parsing import read_options
from pipeline.cli.run_options import checked_execution, checked_run, fitted, read_first, starting_run
from pipeline.config import RunConfig
from sharedris.errors import InputError
from sweeps.cli.sweep_options import SweepOptions
from sweeps.plan import SweepPlan, plan_sweep
from sweeps.registry import find_sweep
from sweeps.spec import Sweep, cells_of


def planned(options: SweepOptions, provenance: dict[str, Any] | None = None, *, tolerant: bool = True) -> SweepPlan:
    """Return the cells of the sweep with their jobs.

    Args:
        options: of the command.
        provenance: for the records; None where nothing is recorded.
        tolerant: a cell that cannot be made ready has a problem; else it is an error.

    Raises:
        InputError: for a sweep that does not exist, or an option that does not fit.
    """
    _check(options)
    at_scale = _runs_at_scales(options)

    def make_default(seed: int, scale: str | None) -> RunConfig:
        return replace(at_scale(scale or options.scale), seed=seed)

    sweep = find_sweep(options.name)
    return plan_sweep(
        sweep,
        make_default,
        fitted(options, checked_execution(options), _models_of(sweep, make_default)),
        seeds=range(options.seeds),
        provenance=provenance,
        tolerant=tolerant,
    )


def _models_of(sweep: Sweep, make_default: Callable[[int, str | None], RunConfig]) -> Iterator[RunConfig]:
    """Yield one run of each model of a sweep; read only where a batch has to be fitted."""
    seen = set()
    for cell in cells_of(sweep, make_default, (0,)):
        if cell.config is not None and cell.config.model not in seen:
            seen.add(cell.config.model)
            yield cell.config


def _check(options: SweepOptions) -> None:
    if not options.name:
        raise InputError("no sweep is named", "sharedris sweep list shows them")
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds} is not a number above 0", "Give 1 or more")
    if options.run.seed:
        raise InputError("--seed is of one run", "Give --seeds N for the seeds 0 .. N-1")


def _runs_at_scales(options: SweepOptions) -> Callable[[str], RunConfig]:
    """Return the run of the options at a scale, read once each: a field that the user set is set at every scale."""
    known = {options.scale: checked_run(options)}

    def at_scale(scale: str) -> RunConfig:
        if scale not in known:
            first = replace(read_first(options.words), scale=scale)
            again = read_options(type(options), options.words, starting=replace(options, run=starting_run(first)))
            known[scale] = checked_run(again)
        return known[scale]

    return at_scale
