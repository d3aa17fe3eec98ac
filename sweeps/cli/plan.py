"""`sharedris sweep plan`: what a sweep would run and take; starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cli.common_options import Flag
from pipeline.cli.machine_output import print_json
from pipeline.object_store.opened import SCORES
from sharedris.errors import InputError
from sweeps.cli.sweep_options import SweepOptions, planned, starting_sweep
from sweeps.status import describe, states

READS = SCORES
"""Of runs in an object store: how trainings vary is measured on their rows."""


@dataclass(frozen=True, kw_only=True)
class Options(SweepOptions):
    """Those of the sweep, and what its hours, money and differences are reckoned with."""

    gflops: float | None = None
    """Sustained rate of one worker in GFLOP/s (default: measured)."""
    price: float | None = None
    """Money per worker-hour, in any currency."""
    difference: float = 1.0
    """Wished difference in points of mIoU: what it needs."""
    training_deviation: float | None = None
    """Points between trainings (default: measured, or assumed)."""
    paper_gflops: float | None = None
    """GFLOP/s of one of the paper's 8 GPUs, to estimate hours."""
    json: Flag = False
    """Print the cells as JSON, and all other lines on standard error."""


def starting_options(words: Sequence[str]) -> Options:
    """Return the options before the command line changes them."""
    return starting_sweep(Options, words)


def run(options: Options) -> int:
    """Print cells, the smallest difference that can be seen, and the costs."""
    from sweeps.cost_report import cost_report
    from sweeps.power import power_report

    _require_points("--difference", options.difference)
    _require_points("--training-deviation", options.training_deviation)
    plan, prepared = planned(options), options.where.prepared_root
    print(describe(plan))
    print(power_report(plan, prepared, points=options.difference, training_points=options.training_deviation))
    print(cost_report(plan, prepared, gflops=options.gflops, price=options.price, paper_gflops=options.paper_gflops))
    if options.json:
        print_json(states(plan))
    return 0


def _require_points(name: str, value: float | None) -> None:
    if value is not None and not 0.0 < value <= 100.0:
        raise InputError(f"{name} {value} is not a number of points above 0 and up to 100", "Give 1, for example")
