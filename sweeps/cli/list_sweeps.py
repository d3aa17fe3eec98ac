"""`sharedris sweep list`: every sweep, those of plugins included."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cli.common_options import CommonOptions
from pipeline.cli.machine_output import print_json
from sweeps.registry import SWEEPS


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """None of its own."""


def run(options: Options) -> int:
    """Print a line per sweep."""
    rows = {sweep.name: sum(len(rows) for rows in sweep.tables.values()) for sweep in SWEEPS.values()}
    for sweep in SWEEPS.values():
        print(f"{sweep.name:<12} {sweep.title} ({rows[sweep.name]} rows)")
    if options.json:
        print_json([{"name": each.name, "title": each.title, "rows": rows[each.name]} for each in SWEEPS.values()])
    return 0
