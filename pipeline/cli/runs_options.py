"""The options of `sharedris runs list`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.common_options import CommonOptions, Flag, RunsFolder


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Which runs are listed, with which scores."""

    runs: RunsFolder = Path("runs")
    """Root of the runs."""
    protocol: str = "original"
    """Of the scores."""
    all: Flag = False
    """List archived runs too."""
