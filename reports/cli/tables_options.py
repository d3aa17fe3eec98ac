"""The options of `sharedris report tables`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.common_options import Flag
from reports.cli.report_options import ReportOptions


@dataclass(frozen=True, kw_only=True)
class Options(ReportOptions):
    """Which tables, in which style, and what goes with them."""

    what: tyro.conf.Positional[tuple[str, ...]]
    """`all` (the whole report), tables of the paper (I, II, VII-a, ...; VII and VIII are both halves), or sweeps by
    name or file (sharedris sweep list)."""
    masks_of: tuple[str, ...] | None = None
    """Runs whose masks the galleries show."""
    pdf: Flag = False
    """Of `all`: also write plots as PDF, for a paper."""
    style: str = "side-by-side"
    """Layout of the tables named: side-by-side has the paper's numbers next to ours, paper the paper's layout with
    ours added, ours only ours."""
    flags: tuple[Path, ...] = ()
    """Files of expressions that reviewers found wrong (Ref-L4's reviewed annotations, JSON Lines): adds the scores
    without them to the tables."""
    mlflow_run: str = ""
    """Log the report to this MLflow run, or to the parent run that has the tag sweep=NAME, when given as
    sweep:NAME."""
    mlflow_uri: str = ""
    """MLflow's tracking address (default: sqlite in RUNS)."""
