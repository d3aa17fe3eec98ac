"""The options of `sharedris data synthesize`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cli.common_options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The set, its size, and where it is written."""

    data: str
    """One of toy_unc, toyplus_unc, toyg_umd, toyg_none."""
    out: str = "data/refer"
    """REFER root to write."""
    expressions: int = 4000
    """Training sentences, 40 to 100000."""
    seed: int = 0
    """Seed of scenes and sentences."""
