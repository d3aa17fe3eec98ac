"""`sharedris sweep status`: the state of every cell, read only from files."""

from __future__ import annotations

from pipeline.cli.machine_output import print_json
from sweeps.cli.planned import planned
from sweeps.cli.status_options import Options
from sweeps.status import describe, states


def run(options: Options) -> int:
    """Print a line per cell."""
    plan = planned(options)
    print(describe(plan))
    if options.json:
        print_json(states(plan))
    return 0
