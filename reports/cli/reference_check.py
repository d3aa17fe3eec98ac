"""`sharedris report reference check`: records against a reference, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.common_options import CommonOptions, RunsFolder
from pipeline.object_store.opened import SCORES
from reports.load import load_runs
from reports.reference import check_runs, read_expected
from sharedris.errors import printable

READS = SCORES
"""Of runs in an object store."""


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The reference, and the records that are compared with it."""

    folder: tyro.conf.Positional[Path]
    """Folder that `reference make` wrote."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""


def run(options: Options) -> int:
    """Print a line per row; 1 where one lies outside."""
    checked = check_runs(read_expected(options.folder), load_runs(options.runs))
    print(*map(printable, checked.lines), sep="\n")
    return 1 if checked.failures else 0
