"""A checkpoint that is asked for from outside: before a time limit, or before a machine is taken away.

A file next to the checkpoints asks for it. Rank zero looks for it every tenth step, and the run goes on afterwards.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_FILE = "save-now"


def request_checkpoint(state_folder: Path) -> None:
    """Ask the run for a checkpoint."""
    (state_folder / _FILE).touch()


def take_request(state_folder: Path) -> bool:
    """Return whether a checkpoint is asked for, once."""
    try:
        (state_folder / _FILE).unlink()
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def signal_saves(state_folders: Sequence[Path]) -> Iterator[None]:
    """Ask these runs for a checkpoint at each SIGUSR1 within the block, which without it would end the process."""

    def ask(number: int, frame: Any) -> None:
        for folder in state_folders:
            if folder.is_dir():
                request_checkpoint(folder)

    before = signal.signal(signal.SIGUSR1, ask)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGUSR1, before)
