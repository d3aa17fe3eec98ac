"""`sharedris sweep evaluate`: the trained cells of a sweep scored on more splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from pipeline.cli.common_options import CurveFlag
from pipeline.cli.run_options import checked_execution
from sharedris.errors import InputError
from sweeps.cli.sweep_options import SweepOptions, planned, starting_sweep


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


def run(options: Options) -> int:
    """Add the splits that the records lack."""
    from sweeps.evaluate import evaluate_sweep

    if not options.splits:
        raise InputError("no split is named", "Write SET/SPLIT, for example refcocog_umd/val")
    if options.batch_size is not None and options.batch_size < 1:
        raise InputError(f"--batch-size {options.batch_size} is not a number above 0", "Give 1 or more")
    return evaluate_sweep(
        planned(options),
        options.splits,
        checked_execution(options),
        batch_size=options.batch_size,
        wants_curves=options.threshold_curve,
    )
