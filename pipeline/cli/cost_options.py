"""The options of `sharedris cost`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cli.common_options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Which cells, under which reading."""

    scale: str = "base"
    """Scale of the component table: tiny, base, large."""
    table: str | None = None
    """One table of the paper (default: all of them)."""
    reading: str = "default"
    """Of the paper's open options; after_the_fact was found with the misses in sight."""
    measure: tuple[int, ...] = ()
    """Run these batch sizes: seconds, and the peak memory that model and forward pass add to a fresh process."""
