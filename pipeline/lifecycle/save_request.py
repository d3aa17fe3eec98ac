"""A checkpoint that is asked for from outside: before a time limit, or before a machine is taken away.

A file next to the checkpoints asks for it. Rank zero looks for it every tenth step, and the run goes on afterwards.
Where runs live in an object store, an object asks for it, and a thread of rank zero turns it into the file.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.object_store.layout import SAVE_REQUEST
from pipeline.object_store.mirror import mirror_of
from pipeline.object_store.save_request import put_request


def request_checkpoint(state_folder: Path) -> None:
    """Ask the run for a checkpoint.

    Raises:
        StoreError: where runs live in a store that cannot be used.
    """
    mirror = mirror_of(state_folder.parent.parent)
    if mirror is None:
        _leave_file(state_folder)
    else:
        put_request(mirror, state_folder.name)


def _leave_file(state_folder: Path) -> None:
    (state_folder / SAVE_REQUEST).touch()


def take_request(state_folder: Path) -> bool:
    """Return whether a checkpoint is asked for, once."""
    try:
        (state_folder / SAVE_REQUEST).unlink()
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def signal_saves(state_folders: Sequence[Path]) -> Iterator[None]:
    """Ask these runs for a checkpoint at each SIGUSR1 within the block, which without it would end the process.

    The handler only leaves files: the process itself trains here, or its follower of the store passes them on.
    """

    def ask(number: int, frame: Any) -> None:
        for folder in state_folders:
            if folder.is_dir():
                _leave_file(folder)

    before = signal.signal(signal.SIGUSR1, ask)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGUSR1, before)
