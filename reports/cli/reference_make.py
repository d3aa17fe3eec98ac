"""`sharedris report reference make`: what a shipped sweep gives, kept with its records."""

from __future__ import annotations

from pipeline.cli.machine_output import add_result
from pipeline.object_store.opened import SCORES
from reports.cli.reference_make_options import Options
from reports.load import load_runs
from reports.reference import FILE, measure_expected, write_reference

READS = SCORES
"""Of runs in an object store."""


def run(options: Options) -> int:
    """Write the reference."""
    runs = load_runs(options.runs)
    expected = measure_expected(runs, recipe=options.recipe, fewest_seeds=options.fewest_seeds)
    size = write_reference(runs, expected, options.out)
    add_result(file=options.out / FILE, rows=len(expected.rows), bytes=size)
    print(f"{options.out / FILE}: {len(expected.rows)} rows; {size / 2**20:.1f} MiB with their records")
    return 0
