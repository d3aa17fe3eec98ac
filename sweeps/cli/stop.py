"""`sharedris sweep stop`: end the driver of a running sweep, with everything resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.cli.sweep_options import SweepOptions, planned, starting_sweep
from sweeps.status import stop


@dataclass(frozen=True, kw_only=True)
class Options(SweepOptions):
    """Those of the sweep."""


def starting_options(words: Sequence[str]) -> Options:
    """Return the options before the command line changes them."""
    return starting_sweep(Options, words)


def run(options: Options) -> int:
    """Ask the driver to end, and print what was done."""
    print(stop(planned(options)))
    return 0
