"""The options of `sharedris runs archive`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cli.common_options import Flag
from pipeline.cli.one_run import OneRunOptions


@dataclass(frozen=True, kw_only=True)
class Options(OneRunOptions):
    """The run, and whether it is shown again."""

    undo: Flag = False
    """Show it again."""
