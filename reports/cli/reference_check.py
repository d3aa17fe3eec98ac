"""`sharedris report reference check`: records against a reference, row by row."""

from __future__ import annotations

from pipeline.cli.machine_output import add_result
from pipeline.object_store.opened import SCORES
from reports.cli.reference_check_options import Options
from reports.load import load_runs
from reports.reference import check_runs, read_expected
from sharedris.errors import printable

READS = SCORES
"""Of runs in an object store."""


def run(options: Options) -> int:
    """Print a line per row; 1 where one lies outside."""
    checked = check_runs(read_expected(options.folder), load_runs(options.runs))
    add_result(failures=checked.failures, lines=checked.lines)
    print(*map(printable, checked.lines), sep="\n")
    return 1 if checked.failures else 0
