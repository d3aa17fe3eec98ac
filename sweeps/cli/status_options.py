"""The options of `sharedris sweep status`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cli.common_options import Flag
from sweeps.cli.sweep_options import SweepOptions, starting_sweep


@dataclass(frozen=True, kw_only=True)
class Options(SweepOptions):
    """Those of the sweep."""

    json: Flag = False
    """Print the cells as JSON, and all other lines on standard error."""


def starting_options(words: Sequence[str]) -> Options:
    """Return the options before the command line changes them."""
    return starting_sweep(Options, words)
