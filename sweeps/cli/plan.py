"""`sharedris sweep plan`: what a sweep would run and take; starts nothing."""

from __future__ import annotations

from pipeline.cli.machine_output import print_json
from pipeline.object_store.opened import SCORES
from sharedris.errors import InputError
from sweeps.cli.plan_options import Options
from sweeps.cli.planned import planned
from sweeps.status import describe, states

READS = SCORES
"""Of runs in an object store: how trainings vary is measured on their rows."""


def run(options: Options) -> int:
    """Print cells, the smallest difference that can be seen, and the costs."""
    from sweeps.cost_report import cost_report
    from sweeps.power import power_report

    _require_points("--difference", options.difference)
    _require_points("--training-deviation", options.training_deviation)
    plan, prepared = planned(options), options.where.prepared_root
    print(describe(plan))
    print(power_report(plan, prepared, points=options.difference, training_points=options.training_deviation))
    print(
        cost_report(
            plan,
            prepared,
            gflops=options.gflops,
            price=options.price,
            paper_gflops=options.paper_gflops,
            paper_gpu=options.where.accelerator_type,
        )
    )
    if options.json:
        print_json(states(plan))
    return 0


def _require_points(name: str, value: float | None) -> None:
    if value is not None and not 0.0 < value <= 100.0:
        raise InputError(f"{name} {value} is not a number of points above 0 and up to 100", "Give 1, for example")
