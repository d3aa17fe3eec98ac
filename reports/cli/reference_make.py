"""`sharedris report reference make`: what a shipped sweep gives, kept with its records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.common_options import CommonOptions, RunsFolder
from pipeline.object_store.opened import SCORES
from reports.load import load_runs
from reports.reference import FEWEST_SEEDS, FILE, measure_expected, write_reference

READS = SCORES
"""Of runs in an object store."""


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The records, and the folder that is written."""

    out: Path
    """Folder to write."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""
    recipe: str = ""
    """Recipe of the runs, where there are several."""
    fewest_seeds: int = FEWEST_SEEDS
    """Refuse rows with fewer."""


def run(options: Options) -> int:
    """Write the reference."""
    runs = load_runs(options.runs)
    expected = measure_expected(runs, recipe=options.recipe, fewest_seeds=options.fewest_seeds)
    size = write_reference(runs, expected, options.out)
    print(f"{options.out / FILE}: {len(expected.rows)} rows; {size / 2**20:.1f} MiB with their records")
    return 0
