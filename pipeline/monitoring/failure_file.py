"""The cause of a failed run as its state folder holds it; read without torch, so that status is quick."""

from __future__ import annotations

from pathlib import Path

from pipeline.files import read_json
from sharedris.errors import printable


def failure_path(state_folder: Path) -> Path:
    """Return the file that holds cause and trace of a failure."""
    return state_folder / "failure.json"


def read_cause(state_folder: Path) -> str | None:
    """Return why a run failed in one line, or None where it did not or the file is damaged."""
    values = read_json(failure_path(state_folder))
    cause = values.get("cause") if isinstance(values, dict) else None
    return printable(cause) if isinstance(cause, str) else None  # the file may have been changed


def read_is_bad_input(state_folder: Path) -> bool:
    """Return whether bad input or a full disk is the cause."""
    values = read_json(failure_path(state_folder))
    return isinstance(values, dict) and values.get("is_bad_input") is True
