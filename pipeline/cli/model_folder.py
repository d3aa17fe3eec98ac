"""The model that a command names: a folder, or the id of a run."""

from __future__ import annotations

from pathlib import Path

from pipeline.object_store.opened import bring_results
from sharedris.errors import InputError


def find_model_folder(run: str, runs_root: Path) -> Path:
    """Return the model folder that RUN names.

    Raises:
        InputError: when it is neither a folder nor a run with an exported model; lists some that are there.
    """
    if not Path(run).is_dir():
        bring_results(runs_root, [run])
    for folder in (Path(run), runs_root / "models" / run):
        if folder.is_dir():
            return folder
    models = sorted(path.name for path in (runs_root / "models").glob("*") if path.is_dir())
    known = f"There are: {', '.join(models[:5])}" if models else "Train one first: make sweep-fpn"
    raise InputError(f"no model {run!r}, neither as a folder nor below {runs_root / 'models'}", known)
