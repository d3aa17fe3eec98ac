"""Removes one run: everything that it wrote, and nothing of another run."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.files import safe_component
from pipeline.lifecycle.locks import driver_lock
from pipeline.object_store.mirror import mirror_of
from pipeline.records import history_path, record_path
from pipeline.run_marks import marks_path
from pipeline.validation_rows import validation_path


def places_of(root: Path, run_id: str) -> list[Path]:
    """Return the existing files and folders of a run, the record first and the state folder last.

    Raises:
        InputError: for a name that is not one component of a path.
    """
    safe_component(run_id, "run")
    places = [
        record_path(root, run_id),  # first: without it the run counts as not done, and nobody reads the rest
        history_path(root, run_id),
        validation_path(root, run_id),
        root / "samples" / run_id,
        root / "thresholds" / run_id,
        root / "attention" / run_id,
        root / "models" / run_id,
        marks_path(root, run_id),
        root / "state" / run_id,  # last: it holds the lock
    ]
    return [place for place in places if place.exists() or place.is_symlink()]


def remove_run(root: Path, run_id: str) -> list[Path]:
    """Remove a run and return what was removed.

    Raises:
        RunHeldError: when a driver works on it.
        InputError: for a name that is not one component of a path.
    """
    removed = places_of(root, run_id)
    with driver_lock(root / "state" / run_id):
        mirror = mirror_of(root)
        if mirror is not None:
            mirror.remove_run(run_id)
        for place in removed:
            _remove(place)
        for left in (root / "ray").glob(f"{run_id}-*"):
            _remove(left)
        shutil.rmtree(root / "state" / run_id, ignore_errors=True)
    return removed


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
