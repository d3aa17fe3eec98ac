"""The options of `sharedris report reference check`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.common_options import CommonOptions, RunsFolder


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The reference, and the records that are compared with it."""

    folder: tyro.conf.Positional[Path]
    """Folder that `reference make` wrote."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""
