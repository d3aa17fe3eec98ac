"""The options of `sharedris runs rm`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cli.common_options import Flag
from pipeline.cli.one_run import OneRunOptions


@dataclass(frozen=True, kw_only=True)
class Options(OneRunOptions):
    """The run, and whether it is removed without a question."""

    yes: Flag = False
    """Do not ask."""
