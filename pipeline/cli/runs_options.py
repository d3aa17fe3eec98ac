"""The options of `sharedris runs list`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.common_options import Flag, RunsFolder
from pipeline.cli.machine_output import JsonOptions


@dataclass(frozen=True, kw_only=True)
class Options(JsonOptions):
    """Which runs are listed, with which scores."""

    runs: RunsFolder = Path("runs")
    """Root of the runs."""
    protocol: str = "original"
    """Of the scores."""
    all: Flag = False
    """List archived runs too."""
