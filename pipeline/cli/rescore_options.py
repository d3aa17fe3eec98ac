"""The options of `sharedris runs rescore`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.common_options import CommonOptions, Device, RunsFolder


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Which runs, and what their models need where a protocol is missing."""

    names: tyro.conf.Positional[tuple[str, ...]]
    """Ids of runs, as `sharedris runs` lists them, or `all`."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""
    prepared: str = "data/prepared"
    """Root of prepared sets, folder or URI."""
    device: Device = "auto"
    """Where the model runs."""
    loader_workers: int = 0
    """Processes that load data."""
