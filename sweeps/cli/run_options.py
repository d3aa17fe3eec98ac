"""The options of `sharedris sweep run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.cli.sweep_options import SweepOptions, starting_sweep


@dataclass(frozen=True, kw_only=True)
class Options(SweepOptions):
    """Those of the sweep, and what is done with its records and models."""

    experiment: str | None = None
    """MLflow experiment (default: sweep-SWEEP; Databricks wants a path: /Users/me@lab.org/fpn)."""
    force: str | None = None
    """Label of a cell: remove its record and train it again."""
    register_model: str | None = None
    """At the end, register the best cell's model (oIoU of its first split) in MLflow as NAME@best."""


def starting_options(words: Sequence[str]) -> Options:
    """Return the options before the command line changes them."""
    return starting_sweep(Options, words)
