"""Training samples that cannot be read, where a run is allowed to go on without them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import torch

from sharedris.errors import InputError

_NOTE = "damaged.jsonl"


class ReplaceUnreadable(torch.utils.data.Dataset):
    """Gives the next readable sample in place of one that cannot be read, and notes which one that was.

    Args:
        dataset: a map-style data set with `set_epoch`.
        state_folder: of the run; the note lies there, written by loader processes too.
    """

    def __init__(self, dataset: Any, state_folder: Path) -> None:
        self.dataset, self.state_folder = dataset, state_folder

    @property
    def removed(self) -> Any:
        """What the data set leaves out."""
        return getattr(self.dataset, "removed", ())

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that augmentation depends on."""
        self.dataset.set_epoch(epoch)

    def __getitem__(self, index: int) -> Any:
        first_error: InputError | None = None
        for offset in range(len(self)):
            try:
                return self.dataset[(index + offset) % len(self)]
            except InputError as error:
                first_error = first_error or error
                _note(self.state_folder, (index + offset) % len(self), error.message)
        assert first_error is not None
        raise first_error


def _note(state_folder: Path, index: int, message: str) -> None:
    line = json.dumps({"index": index, "message": message}) + "\n"
    with (state_folder / _NOTE).open("a") as stream:
        stream.write(line)


def unreadable_samples(state_folder: Path) -> dict[int, str]:
    """Return position in the training set -> what is wrong with it, of all samples that were replaced so far."""
    try:
        lines = (state_folder / _NOTE).read_text().splitlines()
    except FileNotFoundError:
        return {}
    damaged = {}
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):  # torn by a kill or a full disk; the sample is met again
            entry = json.loads(line)
            damaged[entry["index"]] = entry["message"]
    return damaged
