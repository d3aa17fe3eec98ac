"""`sharedris report compare`: runs side by side, with a test on the same samples."""

from __future__ import annotations

from pipeline.cli.machine_output import add_result
from pipeline.files import staged_folder
from pipeline.object_store.opened import PICTURES
from reports.build import write_tables
from reports.cli.compare_options import Options
from reports.cli.report_end import check_report, ended_with, shown
from reports.load import load_runs
from reports.paired_test import paired_test
from reports.run_diff import compare_runs, run_ids_of
from sharedris.errors import InputError

READS = PICTURES
"""Of runs in an object store."""


def run(options: Options) -> int:
    """Print and write both tables."""
    check_report(options)
    if not options.names:
        raise InputError("no run is named", "sharedris runs lists them")
    runs = load_runs(options.runs)
    table = compare_runs(runs, list(options.names))
    paired, problems = paired_test(runs, run_ids_of(runs, list(options.names)))
    with staged_folder(options.place) as place:
        write_tables([table, paired], place)
    add_result(folder=options.place / "tables", tables=["compare", "compare-paired"])
    print(shown(table))
    print(shown(paired))
    print(f"written to {options.place / 'tables'}/compare.md, .tex, .csv, .json, .html, and compare-paired")
    return ended_with(problems)
