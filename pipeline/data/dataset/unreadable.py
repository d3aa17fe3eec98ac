"""Training samples that cannot be read, in runs that are allowed to continue without them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import torch

from sharedris.errors import InputError

_LOG = "damaged.jsonl"


class ReplaceUnreadable(torch.utils.data.Dataset[Any]):
    """Replaces a sample that cannot be read by the next readable one, and logs which one it was.

    Args:
        dataset: a map-style data set with `set_epoch`.
        state_folder: of the run; loader processes append to the log there.
    """

    def __init__(self, dataset: Any, state_folder: Path) -> None:
        self.dataset, self.state_folder = dataset, state_folder

    @property
    def removed(self) -> Any:
        """What the data set leaves out; see `CombinedDataset`."""
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
                _log(self.state_folder, (index + offset) % len(self), error.message)
        assert first_error is not None
        raise first_error


def _log(state_folder: Path, index: int, message: str) -> None:
    line = json.dumps({"index": index, "message": message}) + "\n"
    with (state_folder / _LOG).open("a") as stream:
        stream.write(line)


def unreadable_samples(state_folder: Path) -> dict[int, str]:
    """Return position in the training set -> error message, of all samples that were replaced so far."""
    try:
        lines = (state_folder / _LOG).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    damaged = {}
    for line in lines:
        # A line may be cut by a kill or a full disk, or be damaged; the sample is logged again.
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict) and type(entry.get("index")) is int and isinstance(entry.get("message"), str):
                damaged[entry["index"]] = entry["message"]
    return damaged
