"""The options of `sharedris report reference make`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.common_options import CommonOptions, RunsFolder


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The records, and the folder that is written."""

    out: Path
    """Folder to write."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""
    recipe: str = ""
    """Recipe of the runs, where there are several."""
    fewest_seeds: int = 3
    """Refuse rows with fewer."""
