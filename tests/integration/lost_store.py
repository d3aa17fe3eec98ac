"""MLflow's sqlite store, lost in the middle of something and found again."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


def lose(store: Path) -> None:
    """Take from it what every request needs."""
    _rename(store, "", "lost_")


def find(store: Path) -> None:
    """Give back what `lose` took."""
    _rename(store, "lost_", "")


def _rename(store: Path, before: str, after: str) -> None:
    with contextlib.closing(sqlite3.connect(store)) as database:
        for table in ("latest_metrics", "metrics", "tags"):
            database.execute(f"ALTER TABLE {before}{table} RENAME TO {after}{table}")
