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
    """Return the commit of a checkout; an installed copy inside somebody's repository is not of that repository."""
    if not _git(folder, "ls-files", "--error-unmatch", Path(__file__).name):
        return ""
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*")


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
