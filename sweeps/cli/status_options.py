"""The options of `sharedris sweep status`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.cli.sweep_options import SweepOptions, starting_sweep


@dataclass(frozen=True, kw_only=True)
class Options(SweepOptions):
    """Those of the sweep."""


def starting_options(words: Sequence[str]) -> Options:
    """Return the options before the command line changes them."""
    return starting_sweep(Options, words)
