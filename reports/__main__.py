"""Command line of the reports: `python -m reports all`, `python -m reports VII-a --runs runs`.

Reads records, samples and costs below --runs, prints the tables asked for and writes them below --out. A problem with
one file is one line at the end and exit code 1; the rest of the report is still made. Wrong arguments: exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.records import PROTOCOLS, RecordError
from reports.choice import Wanted
from reports.cost_cells import CostBook
from reports.latex import to_document, to_latex
from reports.layout import Table
from reports.load import Runs, load_costs, load_runs
from reports.methods import build_methods
from reports.paper import SPECS, all_names, split_name
from reports.render import to_csv, to_markdown, to_text
from reports.tables import Built, build_ablation


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m reports", description="Tables, statistics, figures from records.")
    parser.add_argument("tables", nargs="+", help=f"all, or tables of the paper: {', '.join(all_names())}")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder with records/, samples/, costs/")
    parser.add_argument("--out", type=Path, help="where to write (default: RUNS/report)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="original", help="how masks are scored")
    parser.add_argument("--data", default="", help="data set in full (refcoco+_unc); default: the one with most runs")
    parser.add_argument("--split", default="", help="split of the set (val)")
    parser.add_argument("--scale", default="", help="scale of the runs (tiny, base, large)")
    parser.add_argument("--recipe", default="", help="recipe of the runs, where there are several")
    return parser.parse_args(arguments)


def build(name: str, runs: Runs, costs: CostBook, wanted: Wanted) -> Built:
    """Build one table of the paper by name."""
    numeral, _ = split_name(name)
    return (build_methods if SPECS[numeral].metric else build_ablation)(name, runs, costs, wanted)


def write_tables(tables: list[Table], out: Path) -> None:
    """Write each table as Markdown, LaTeX and CSV, and one LaTeX document of all."""
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        (folder / f"{table.name}.md").write_text(to_markdown(table), encoding="utf-8")
        (folder / f"{table.name}.tex").write_text(to_latex(table), encoding="utf-8")
        (folder / f"{table.name}.csv").write_text(to_csv(table), encoding="utf-8")
    (folder / "document.tex").write_text(to_document(tables), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    args = parse(arguments)
    wanted = Wanted(protocol=args.protocol, data=args.data, split=args.split, scale=args.scale, recipe=args.recipe)
    names = all_names() if args.tables == ["all"] else args.tables
    try:
        for name in names:
            split_name(name)
    except RecordError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    runs = load_runs(args.runs)
    costs, cost_problems = load_costs(args.runs)
    built = [build(name, runs, CostBook(costs), wanted) for name in names]
    out = args.out or args.runs / "report"
    write_tables([each.table for each in built], out)
    for each in built:
        print(to_text(each.table))
        for other in each.choice.others:
            print(f"  {other}")
    print(f"written to {out / 'tables'}: {len(built)} table(s) as .md, .tex, .csv")
    problems = [*runs.problems, *cost_problems]
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
