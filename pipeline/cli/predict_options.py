"""The options of `sharedris predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.common_options import CommonOptions, RunsFolder


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The picture, the sentences, the model, and what is written."""

    image: tyro.conf.Positional[Path]
    """Image file."""
    text: tyro.conf.Positional[tuple[str, ...]]
    """One or more sentences, each in quotes."""
    run: str
    """Id of a run below --runs, or a model folder."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""
    out: Path = Path("overlay.png")
    """Image to write."""
    attention: Path | None = None
    """Folder to write an image of attention maps per sentence to."""
    threshold: float | None = None
    """Lowest probability of a foreground pixel (default: the run's)."""
