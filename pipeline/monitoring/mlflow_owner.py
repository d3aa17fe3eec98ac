"""Whose runs are whose in an MLflow store that several people share: each root of runs has an id, and its runs a tag.

Without it a second person's run of the same configuration would vanish into the first person's, found by hash.
"""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

from filelock import FileLock
from mlflow.entities import Run

from pipeline.files import write_file
from pipeline.monitoring.mlflow_tags import PREFIX, user_name
from pipeline.object_store.mirror import mirror_of
from pipeline.object_store.shared_value import first_written

ROOT = f"{PREFIX}runs_root"
_FILE = ".runs_id"


def runs_root_id(runs_root: Path) -> str:
    """Return the id of a root of runs, made at the first call; it moves and is copied with the folder.

    Raises:
        StoreError: where runs live in a store that cannot be used.
    """
    path = runs_root / _FILE
    with FileLock(runs_root / ".mlflow.lock"):
        known = path.read_text().strip() if path.exists() else ""
        wanted = known if _is_id(known) else uuid.uuid4().hex[:16]
        mirror = mirror_of(runs_root)
        if mirror is not None:  # all hosts that work on a prefix have one id
            wanted = first_written(mirror.objects, _FILE, wanted, _is_id)
        if wanted != known:
            write_file(path, wanted.encode())
    return wanted


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{16}", text) is not None


def belongs_to(run: Run, root_id: str) -> bool:
    """Return whether a run is that of a root.

    Runs of earlier versions have no root. In a store below the runs they belong to it. On a server they belong to
    the user who started them.
    """
    owner = run.data.tags.get(ROOT)
    if owner is not None:
        return bool(owner == root_id)
    return not os.environ.get("MLFLOW_TRACKING_URI") or run.data.tags.get("mlflow.user", user_name()) == user_name()
