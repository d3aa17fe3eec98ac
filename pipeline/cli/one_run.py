"""The options of commands that do something with one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.common_options import CommonOptions, RunsFolder
from sharedris.errors import InputError


@dataclass(frozen=True, kw_only=True)
class OneRunOptions(CommonOptions):
    """Which run."""

    run: tyro.conf.Positional[str]
    """Id of a run, as `sharedris runs` names it."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""


def require_run(root: Path, run_id: str) -> None:
    """Refuse a run that has no file below the root.

    Raises:
        InputError: that names some runs.
    """
    from pipeline.lifecycle.removal import places_of  # pandas: not for `--help`
    from pipeline.records import list_runs

    if not places_of(root, run_id):
        there = list_runs(root, archived=True)
        remedy = f"There are: {', '.join(there[:5])}" if there else "sharedris runs lists them"
        raise InputError(f"no run {run_id!r} below {root}", remedy)
