"""The options of `sharedris sweep evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from pipeline.cli.common_options import CurveFlag
from sweeps.cli.sweep_options import SweepOptions, starting_sweep


@dataclass(frozen=True, kw_only=True)
class Options(SweepOptions):
    """Those of the sweep, and the splits."""

    splits: tyro.conf.Positional[tuple[str, ...]] = ()
    """Splits with their set: refcocog_umd/val."""
    batch_size: int | None = None
    """Samples a forward (default: that of the run)."""
    threshold_curve: CurveFlag = False


def starting_options(words: Sequence[str]) -> Options:
    """Return the options before the command line changes them."""
    return starting_sweep(Options, words)
