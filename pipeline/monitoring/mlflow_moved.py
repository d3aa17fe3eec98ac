"""Lets MLflow find the artifacts of a runs folder that was moved or copied.

MLflow stores an absolute place per experiment, run and model, and has no call that changes it (its issues 3144 and
8226). So the first command after a move replaces the folder in those columns of the sqlite store, in one transaction.
A store of any version then works at its new place with plain MLflow too. Servers keep their own places.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from pipeline.monitoring.mlflow_uri import DATABASE

ARTIFACTS = "mlartifacts"
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's store that hold addresses of artifacts."""


def follow_move(runs_root: Path) -> int:
    """Let the store in this folder name artifacts below this folder; return how many places have changed.

    Nothing is done for a server, or where the folder holds no artifacts: then only the store was moved.

    Raises:
        sqlite3.Error: when the store cannot be read or written.
    """
    store, here = runs_root.resolve() / DATABASE, runs_root.resolve() / ARTIFACTS
    if os.environ.get("MLFLOW_TRACKING_URI") or not store.is_file() or not here.is_dir():
        return 0
    with contextlib.closing(sqlite3.connect(store, timeout=4)) as database:
        moved = [old for old in _folders_in(database) if old != here.as_uri()]
        if not moved:
            return 0
        with database:  # commits, or rolls back
            return sum(_replace(database, old, here.as_uri()) for old in moved)


def _folders_in(database: sqlite3.Connection) -> set[str]:
    """Return the addresses of every folder `mlartifacts` that an experiment names."""
    rows = database.execute("SELECT artifact_location FROM experiments WHERE artifact_location LIKE 'file://%'")
    found = (str(place).rpartition(f"/{ARTIFACTS}/") for (place,) in rows)
    return {f"{before}/{ARTIFACTS}" for before, separator, _ in found if separator}


def _replace(database: sqlite3.Connection, old: str, new: str) -> int:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    changed = 0
    for table, column in _PLACES:
        if table in tables:  # stores of earlier versions of MLflow have fewer
            command = (
                "UPDATE {0} SET {1} = ? || substr({1}, ?) WHERE substr({1}, 1, ?) = ?".format(table, column)  # noqa: UP032, S608
            )
            changed += database.execute(command, (new, len(old) + 1, len(old) + 1, f"{old}/")).rowcount
    return changed
