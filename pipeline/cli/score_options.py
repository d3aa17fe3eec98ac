"""The options of `sharedris score masks`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from pipeline.cli.common_options import CommonOptions, Flag, RunsFolder


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """What is scored, on what, and under which name it is recorded."""

    predictions: tyro.conf.Positional[Path]
    """A file or folder of masks; forms: docs/score.md."""
    data: str
    """Prepared set in full: refcoco+_unc."""
    split: str
    """Split of the set: val."""
    name: str
    """Of the system, as tables print it: LAVT."""
    paper: str = ""
    """Title, address or bibliography key of the system's paper."""
    format: str | None = None
    """Form of the predictions (default: the content decides)."""
    at: Literal["original", "input"] = "original"
    """Size of the masks: that of each image, or the model's input size, against the true mask resized nearest."""
    input_size: int | None = None
    """Side of the masks in pixels, with --at input."""
    allow_missing: Flag = False
    """Score expressions without a prediction as empty masks."""
    allow_unknown: Flag = False
    """Leave out predictions for expressions of other splits."""
    evaluator: tuple[str, ...] = ()
    """Print also what these papers' public code prints for the same masks (docs/protocols.md), or `all`."""
    replace: Flag = False
    """Record this split anew with other predictions."""
    prepared: str = "data/prepared"
    """Root of prepared sets, folder or URI."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""
