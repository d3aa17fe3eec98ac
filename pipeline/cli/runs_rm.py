"""`sharedris runs rm`: a run and all its files removed, after a question."""

from __future__ import annotations

import sys

from pipeline.cli.machine_output import add_result
from pipeline.cli.one_run import require_run
from pipeline.cli.runs_rm_options import Options
from pipeline.lifecycle.removal import places_of, remove_run
from sharedris.errors import InputError

NOT_REMOVED = 1


def run(options: Options) -> int:
    """Name what would be removed, ask, and remove it."""
    require_run(options.runs, options.run)
    places = ", ".join(str(place.relative_to(options.runs)) for place in places_of(options.runs, options.run))
    if not options.yes:
        if not sys.stdin.isatty():
            raise InputError(f"{options.run}: nothing is removed without a question", "Add --yes")
        print(f"this removes {places}", flush=True)
        if input("Remove it? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing is removed")
            return NOT_REMOVED
    remove_run(options.runs, options.run)
    add_result(run_id=options.run, removed=places.split(", "))
    print(f"removed {places}")
    return 0
