"""The address of MLflow's store, and how it may be printed. Does not import MLflow, which takes a second."""

from __future__ import annotations

import os
import re
from pathlib import Path

_PASSWORD = re.compile(r"(?<=://)([^\s/@:]*):[^@]*@")
_PASSWORD_OPTION = re.compile(r"(?i)((?:password|passwd|pwd)=)[^&;\s]*")


def tracking_uri(runs_root: Path) -> str:
    """Return `MLFLOW_TRACKING_URI`, or the sqlite store below the runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(runs_root).resolve() / 'mlflow.db'}"


def without_password(text: str) -> str:
    """Return an address, or a message that quotes one, with its passwords replaced."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))
