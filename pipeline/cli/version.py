"""The version with the commit of the code that runs."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def version_line() -> str:
    """Return name, version and commit; the commit is left out where the code is not in a checkout."""
    try:
        number = version("shared-ris")
    except PackageNotFoundError:
        number = "not installed"
    commit = _commit(Path(__file__).resolve().parent)
    return f"sharedris {number}" + (f" (commit {commit})" if commit else "")


def _commit(folder: Path) -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
