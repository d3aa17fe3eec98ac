"""The address of MLflow's store, and how it may be printed. Does not import MLflow, which takes a second.

python -m pipeline.monitoring.mlflow_uri RUNS      prints it for `make ui`
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from urllib.parse import quote, unquote

DATABASE = "mlflow.db"
_PASSWORD = re.compile(r"(?<=://)([^\s/@:]*):[^@]*@")
_USER_ALONE = re.compile(r"(?<=://)[^\s/@:*]+@")
_SECRET_OPTION = re.compile(
    r"(?i)\b((?:password|passwd|pwd|token|access_token|api_?key|secret|secret_?key|access_?key|sig|signature)=)[^&;\s]*"
)


def tracking_uri(runs_root: Path) -> str:
    """Return `MLFLOW_TRACKING_URI`, or the sqlite store below the runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(runs_root / DATABASE)


def sqlite_uri(path: Path) -> str:
    """Return the address of a sqlite file; its path may hold any letters, of which two have a meaning there."""
    return f"sqlite:///{str(path.resolve()).replace('%', quote('%')).replace('?', quote('?'))}"


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a sqlite store's address, None for other stores."""
    path = uri.removeprefix("sqlite:///")
    return None if path == uri else Path(unquote(path.partition("?")[0]))


def without_password(text: str) -> str:
    """Return an address, or a message that quotes one, with passwords and tokens replaced.

    A user name is kept where a password follows; one that stands by itself may be a token.
    """
    hidden = _USER_ALONE.sub("***@", _PASSWORD.sub(r"\1:***@", text))
    return _SECRET_OPTION.sub(r"\1***", hidden)


if __name__ == "__main__":
    print(tracking_uri(Path(sys.argv[1])))
