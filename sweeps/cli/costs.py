"""`sharedris sweep costs`: parameters and GMACs of every model of a sweep at the paper's scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.common_options import CommonOptions, RunsFolder
from pipeline.cli.machine_output import add_result
from pipeline.files import require_writable
from sweeps.registry import find_sweep


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Which models, and where the costs are written."""

    name: tyro.conf.Positional[str] = "all"
    """Sweep by name, or a .py file with one."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""


def run(options: Options) -> int:
    """Measure what has no costs yet."""
    from sweeps.costs import write_paper_costs

    require_writable(options.runs, "--runs (make: RUNS=)")
    measured = write_paper_costs(find_sweep(options.name), options.runs)
    add_result(measured=measured, folder=options.runs / "costs")
    print(f"{measured} models measured; costs of {options.name} are below {options.runs / 'costs'}")
    return 0
