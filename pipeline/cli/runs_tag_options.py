"""The options of `sharedris runs tag`."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from pipeline.cli.common_options import Flag
from pipeline.cli.one_run import OneRunOptions


@dataclass(frozen=True, kw_only=True)
class Options(OneRunOptions):
    """The run and its tags."""

    tags: tyro.conf.Positional[tuple[str, ...]]
    """Words to add."""
    remove: Flag = False
    """Remove these tags."""
