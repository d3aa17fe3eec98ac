"""`sharedris report tables`: tables by name, or the whole report with its page.

A problem with one file is one line at the end and exit code 1; the rest of the report is still made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common_options import known
from pipeline.cli.machine_output import add_result
from pipeline.data.readers.quality_flags import read_flags
from pipeline.files import staged_folder
from pipeline.monitoring.mlflow_uri import tracking_uri
from pipeline.object_store.opened import PICTURES
from pipeline.records import RecordError
from reports.build import Report, build_tables, write_report, write_tables
from reports.cli.report_end import check_report, ended_with, shown
from reports.cli.tables_options import Options
from reports.layout import Table
from reports.paper import NUMERALS, all_names
from reports.registry import TABLES
from reports.styles import STYLES, in_style
from reports.sweep_tables import is_of_paper, names_of, own_tables
from reports.tables import Built
from sharedris.errors import InputError, printable
from sweeps.registry import SWEEPS, find_sweep
from sweeps.spec import Sweep

READS = PICTURES
"""Of runs in an object store."""


def run(options: Options) -> int:
    """Write the tables and print them."""
    check_report(options)
    known(STYLES, options.style, "--style")
    if not options.what:
        raise InputError("no table is named", f"Write all, a sweep, or one of {', '.join(all_names())}")
    out = options.place
    whole = options.what == ("all",)
    _require_other_names()
    sweeps = {**SWEEPS, **{sweep.name: sweep for sweep in map(_of_file, options.what) if sweep is not None}}
    names = [*NUMERALS, *own_tables(sweeps), *TABLES] if whole else _names(options.what, sweeps)
    report = build_tables(
        options.runs,
        names,
        options.wanted,
        statistics=whole or any(name in own_tables(sweeps) for name in names),
        sweeps=sweeps,
        flags=read_flags(options.flags) if options.flags else None,
    )
    with staged_folder(out) as place:
        if whole:
            write_report(
                report, place, options.prepared, options.wanted, list(options.masks_of or ()) or None, pdf=options.pdf
            )
        else:
            write_tables([table for each in report.built for table in _of_one(report, each, options.style)], place)
    add_result(folder=out, tables=[table.name for table in report.tables])
    if whole:
        print(f"{out / 'index.html'}: {len(report.tables)} tables of {report.runs.records['run_id'].nunique()} run(s)")
    else:
        _print(report, options.style)
    print(f"tables as .md, .tex, .csv, .json, .html in {out / 'tables'}")
    if options.mlflow_run:
        _publish(options, out)
    return ended_with(report.problems)


def _require_other_names() -> None:
    """Refuse a table of a plugin that has the name of another table or of a word of the command line."""
    for name in TABLES:
        if name in SWEEPS or name in own_tables(SWEEPS) or is_of_paper(name) or name in ("all", "compare", "explore"):
            raise RecordError(f"TABLES of a plugin has {name!r}, which means something else here", "Rename the table")


def _names(words: Sequence[str], sweeps: dict[str, Sweep]) -> list[str]:
    """Return the tables that the words mean, each once."""
    found = ([what] if what in TABLES else names_of(what, sweeps) for what in words)
    return list(dict.fromkeys(name for names in found for name in names))


def _of_file(what: str) -> Sweep | None:
    """Return the sweep of a user's file, None for a name."""
    if not what.endswith(".py"):
        return None
    try:
        return find_sweep(what)
    except InputError as error:
        raise RecordError(error.message, error.remedy) from None


def _print(report: Report, style: str) -> None:
    if report.recipe.words:
        print(*map(printable, (f"recipe: {report.recipe.words}", *report.recipe.others)), sep="\n  ")
    for each in report.built:
        for table in _of_one(report, each, style):
            print(shown(table))
        for other in each.choice.others:
            print(printable(f"  {other}"))


def _of_one(report: Report, built: Built, style: str) -> list[Table]:
    """Return a table in a style, and its differences and protocols, which have one layout."""
    return [in_style(built.table, style), *report.beside.get(built.table.name, [])]


def _publish(options: Options, out: Path) -> None:
    from reports.publish import publish  # MLflow takes seconds to import: only where it is asked for

    run_id, count = publish(out, options.mlflow_run, options.mlflow_uri or tracking_uri(options.runs))
    print(f"{count} files logged to MLflow run {run_id}")
