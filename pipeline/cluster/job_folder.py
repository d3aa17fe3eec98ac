"""Whether runs would be written into Ray's cache of packages, which Ray deletes."""

from __future__ import annotations

import itertools
from pathlib import Path

from sharedris.errors import InputError

_CACHE = "runtime_resources"


def refuse_package_folder(runs_root: Path) -> None:
    """Refuse a root of runs inside a package of `ray job submit`: the next job gets another one, and Ray deletes both.

    Raises:
        InputError: with the remedy.
    """
    parts = runs_root.resolve().parts
    if any(part == _CACHE and above.startswith("session_") for above, part in itertools.pairwise(parts)):
        raise InputError(
            f"--runs {runs_root} is inside the job's package ({runs_root.resolve()}), which Ray deletes",
            "Name a lasting folder by its absolute path: --runs /shared/runs (make: RUNS=/shared/runs)",
        )
