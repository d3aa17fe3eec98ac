"""Command line of the reports: `python -m reports all`, `python -m reports VII-a --runs runs`.

Reads records, samples and costs below --runs, prints the tables asked for and writes them below --out. A problem with
one file is one line at the end and exit code 1; the rest of the report is still made. Wrong arguments: exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from pipeline.cli.guarded import run_guarded
from pipeline.cli.plugin_option import add_plugin_argument, plugins_named_in
from pipeline.data.readers.quality_flags import read_flags
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.files import atomic_writer, require_writable, staged_folder
from pipeline.monitoring.mlflow_uri import tracking_uri
from pipeline.object_store.address import origin_of, runs_folder
from pipeline.object_store.opened import PICTURES, opened_runs
from pipeline.records import RecordError
from reports.build import Report, build_tables, write_report, write_tables
from reports.explorer import build_explorer
from reports.ground_truth import load_truth
from reports.layout import Table
from reports.load import load_runs
from reports.paired_test import paired_test
from reports.paper import NUMERALS, all_names
from reports.registry import TABLES
from reports.render import to_text
from reports.run_diff import compare_runs, run_ids_of
from reports.run_selection import Wanted, select_runs
from reports.styles import STYLES, in_style
from reports.sweep_tables import is_of_paper, names_of, own_tables
from reports.tables import Built
from sharedris.errors import InputError, printable
from sharedris.plugins import load_plugins
from sweeps.registry import SWEEPS, find_sweep
from sweeps.spec import Sweep


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m reports", description="Tables, statistics, figures from records.")
    parser.add_argument(
        "what",
        nargs="+",
        help=f"`all` (the whole report), tables of the paper ({', '.join(all_names())}, also VII and VIII), "
        "sweeps by name or file (python -m sweeps list), `compare RUN RUN ..`, or `explore` (one file to look at "
        "samples and masks)",
    )
    parser.add_argument("--runs", type=runs_folder, default=Path("runs"), help="folder with records/, samples/, costs/")
    parser.add_argument("--out", type=Path, help="where to write (default: RUNS/report)")
    parser.add_argument("--prepared", type=Path, default=Path("data/prepared"), help="prepared sets, for the pictures")
    parser.add_argument("--masks-of", nargs="+", metavar="RUN", help="runs whose masks the galleries show")
    parser.add_argument("--pdf", action="store_true", help="of `all`: also write plots as PDF, for a paper")
    parser.add_argument(
        "--images",
        choices=("thumbnails", "paths", "none"),
        default="thumbnails",
        help="of `explore`: small copies in the file, paths relative to it, or none",
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, default="original", help="how masks are scored")
    parser.add_argument(
        "--data",
        default="",
        help="data set in full (refcoco+_unc), or several, joined by commas, trained on together; default: most runs",
    )
    parser.add_argument("--split", default="", help="split of the set (val)")
    parser.add_argument("--scale", default="", help="scale of the runs (tiny, base, large)")
    parser.add_argument("--recipe", default="", help="recipe of the runs, where there are several")
    parser.add_argument(
        "--style",
        choices=STYLES,
        default="side-by-side",
        help="layout of the tables named: the paper's numbers next to ours, the paper's layout with ours added, or "
        "only ours",
    )
    parser.add_argument(
        "--flags",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="expressions that reviewers found wrong (Ref-L4's reviewed annotations, JSON Lines): adds the scores "
        "without them to the tables",
    )
    parser.add_argument(
        "--mlflow-run",
        default="",
        help="log the report to this MLflow run, or to the parent run "
        "that has the tag sweep=NAME, when given as sweep:NAME",
    )
    add_plugin_argument(parser)
    parser.add_argument("--mlflow-uri", default="", help="MLflow's tracking address (default: sqlite in RUNS)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done, 1 where files could not be used, and the codes of `pipeline.cli.guarded`.
    """
    return run_guarded(lambda: _run(arguments), name="python -m reports")


def _run(arguments: list[str] | None) -> int:
    try:
        load_plugins(plugins_named_in(sys.argv[1:] if arguments is None else arguments))
        args = build_parser().parse_args(arguments)
        out = args.out or (args.runs if origin_of(args.runs) is None else Path()) / "report"
        require_writable(out, "--out")
        with opened_runs(args.runs, PICTURES):
            if args.what[0] == "compare":
                return _compare(args, out)
            if args.what == ["explore"]:
                return _explore(args, out)
            return _tables(args, out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _tables(args: argparse.Namespace, out: Path) -> int:
    whole = args.what == ["all"]
    _require_other_names()
    sweeps = {**SWEEPS, **{sweep.name: sweep for sweep in map(_of_file, args.what) if sweep is not None}}
    names = [*NUMERALS, *own_tables(sweeps), *TABLES] if whole else _names(args.what, sweeps)
    wanted = Wanted(protocol=args.protocol, data=args.data, split=args.split, scale=args.scale, recipe=args.recipe)
    report = build_tables(
        args.runs,
        names,
        wanted,
        statistics=whole or any(name in own_tables(sweeps) for name in names),
        sweeps=sweeps,
        flags=read_flags(args.flags) if args.flags else None,
    )
    with staged_folder(out) as place:
        if whole:
            write_report(report, place, args.prepared, wanted, args.masks_of, pdf=args.pdf)
        else:
            write_tables([table for each in report.built for table in _of_one(report, each, args.style)], place)
    if whole:
        print(f"{out / 'index.html'}: {len(report.tables)} tables of {report.runs.records['run_id'].nunique()} run(s)")
    else:
        _print(report, args.style)
    print(f"tables as .md, .tex, .csv, .json, .html in {out / 'tables'}")
    if args.mlflow_run:
        _publish(args, out)
    for problem in report.problems:
        print(printable(f"problem: {problem}"), file=sys.stderr)
    return 1 if report.problems else 0


def _require_other_names() -> None:
    """Refuse a table of a plugin that has the name of another table or of a word of the command line."""
    for name in TABLES:
        if name in SWEEPS or name in own_tables(SWEEPS) or is_of_paper(name) or name in ("all", "compare", "explore"):
            raise RecordError(f"TABLES of a plugin has {name!r}, which means something else here", "Rename the table")


def _names(words: list[str], sweeps: dict[str, Sweep]) -> list[str]:
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
            print(_shown(table))
        for other in each.choice.others:
            print(printable(f"  {other}"))


def _of_one(report: Report, built: Built, style: str) -> list[Table]:
    """Return a table in a style, and its differences and protocols, which have one layout."""
    return [in_style(built.table, style), *report.beside.get(built.table.name, [])]


def _shown(table: Table) -> str:
    """Return a table for the terminal, whose labels may come from records."""
    return "\n".join(map(printable, to_text(table).split("\n")))


def _compare(args: argparse.Namespace, out: Path) -> int:
    runs = load_runs(args.runs)
    table = compare_runs(runs, args.what[1:])
    paired, problems = paired_test(runs, run_ids_of(runs, args.what[1:]))
    with staged_folder(out) as place:
        write_tables([table, paired], place)
    print(_shown(table))
    print(_shown(paired))
    print(f"written to {out / 'tables'}/compare.md, .tex, .csv, .json, .html, and compare-paired")
    for problem in problems:
        print(printable(f"problem: {problem}"), file=sys.stderr)
    return 1 if problems else 0


def _explore(args: argparse.Namespace, out: Path) -> int:
    runs = load_runs(args.runs)
    wanted = Wanted(protocol=args.protocol, data=args.data, split=args.split, scale=args.scale, recipe=args.recipe)
    variants = [str(variant) for variant in runs.records["variant"].unique()]
    choice = select_runs(runs.records, runs.claims, variants, wanted, any_sets=True)
    truth = load_truth(args.prepared, choice.split)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("packing masks", total=None)
        explorer = build_explorer(
            runs,
            choice,
            truth,
            names=args.masks_of,
            images=args.images,
            out=out,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    out.mkdir(parents=True, exist_ok=True)
    with atomic_writer(out / "samples.html") as stream:
        stream.write(explorer.html.encode())
    size = (out / "samples.html").stat().st_size / 1e6
    print(
        f"{out / 'samples.html'}: {explorer.samples} samples of {choice.split}, {explorer.runs} run(s), {size:.1f} MB"
    )
    for problem in (*runs.problems, *explorer.problems):
        print(printable(f"problem: {problem}"), file=sys.stderr)
    return 1 if runs.problems or explorer.problems else 0


def _publish(args: argparse.Namespace, out: Path) -> None:
    from reports.publish import publish  # MLflow takes seconds to import: only where it is asked for

    run_id, count = publish(out, args.mlflow_run, args.mlflow_uri or tracking_uri(args.runs))
    print(f"{count} files logged to MLflow run {run_id}")


if __name__ == "__main__":
    sys.exit(main())
