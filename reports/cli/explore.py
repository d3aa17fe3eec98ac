"""`sharedris report explore`: one file to look at samples and masks, which works from disk."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress

from pipeline.cli.machine_output import add_result
from pipeline.files import atomic_writer
from pipeline.object_store.opened import PICTURES
from reports.cli.explore_options import Options
from reports.cli.report_end import check_report, ended_with
from reports.explorer import build_explorer
from reports.ground_truth import load_truth
from reports.load import load_runs
from reports.run_selection import select_runs

READS = PICTURES
"""Of runs in an object store."""


def run(options: Options) -> int:
    """Write the file."""
    check_report(options)
    runs, out = load_runs(options.runs), options.place
    variants = [str(variant) for variant in runs.records["variant"].unique()]
    choice = select_runs(runs.records, runs.claims, variants, options.wanted, any_sets=True)
    truth = load_truth(options.prepared, choice.split)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("packing masks", total=None)
        explorer = build_explorer(
            runs,
            choice,
            truth,
            names=None if options.masks_of is None else list(options.masks_of),
            images=options.images,
            out=out,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    out.mkdir(parents=True, exist_ok=True)
    with atomic_writer(out / "samples.html") as stream:
        stream.write(explorer.html.encode())
    size = (out / "samples.html").stat().st_size / 1e6
    add_result(file=out / "samples.html", samples=explorer.samples, runs=explorer.runs)
    print(
        f"{out / 'samples.html'}: {explorer.samples} samples of {choice.split}, {explorer.runs} run(s), {size:.1f} MB"
    )
    return ended_with([*runs.problems, *explorer.problems])
