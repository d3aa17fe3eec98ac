"""The options of `sharedris data identify`."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from pipeline.cli.common_options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """What is compared with what."""

    path: tyro.conf.Positional[str | None] = None
    """A .p, .parquet, .json, .jsonl, .tsv or .csv, or a folder."""
    refer: str | None = None
    """Compare with the REFER download below this folder."""
    index: str | None = None
    """Index of ids and hashes to compare with (default: data/refer-index.parquet if it is there)."""
    build_index: str | None = None
    """Write --index from the REFER download below this folder."""
    out: str | None = None
    """Write everything found to this JSON file."""
