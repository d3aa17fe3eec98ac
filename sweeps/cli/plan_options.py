"""The options of `sharedris sweep plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.cli.sweep_options import SweepOptions, starting_sweep


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
    """GFLOP/s of one of the paper's 8 GPUs (default: a roofline's of --accelerator-type)."""


def starting_options(words: Sequence[str]) -> Options:
    """Return the options before the command line changes them."""
    return starting_sweep(Options, words)
