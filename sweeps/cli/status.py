"""`sharedris sweep status`: the state of every cell, read only from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cli.common_options import Flag
from pipeline.cli.machine_output import print_json
from sweeps.cli.sweep_options import SweepOptions, planned, starting_sweep
from sweeps.status import describe, states


@dataclass(frozen=True, kw_only=True)
class Options(SweepOptions):
    """Those of the sweep."""

    json: Flag = False
    """Print the cells as JSON, and all other lines on standard error."""


def starting_options(words: Sequence[str]) -> Options:
    """Return the options before the command line changes them."""
    return starting_sweep(Options, words)


def run(options: Options) -> int:
    """Print a line per cell."""
    plan = planned(options)
    print(describe(plan))
    if options.json:
        print_json(states(plan))
    return 0
