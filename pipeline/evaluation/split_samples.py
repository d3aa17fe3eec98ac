"""The samples of a split as the model of a run reads them, and a fixed part of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.job import Job
from sharedris.checkpoint import SavedModel
from sharedris.errors import InputError


def open_split(job: Job, split: str, tokenizer_path: Path | None) -> ReferDataset:
    """Return the samples of a split at the sizes of the run's model; without a tokenizer, with that of the set."""
    encoder = job.config.model.encoder
    return ReferDataset(
        job.execution.prepared_root,
        split,
        image_size=encoder.image_size,
        text_tokens=encoder.text_tokens,
        tokenizer_path=tokenizer_path,
    )


class FixedSample:
    """Samples spread evenly over a data set, in its order: the same ones for every run and epoch."""

    def __init__(self, dataset: Any, samples: int | None) -> None:
        count = len(dataset) if samples is None else min(samples, len(dataset))
        self._dataset = dataset
        self._indices = [round(place) for place in np.linspace(0, len(dataset) - 1, count)]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[self._indices[index]]


def split_of_model(prepared: str, split: str, saved: SavedModel) -> ReferDataset:
    """Return a split as a saved model reads it.

    Raises:
        InputError: when it is not prepared, or has no samples.
    """
    encoder = saved.config.encoder
    dataset = ReferDataset(
        prepared,
        split,
        image_size=encoder.image_size,
        text_tokens=encoder.text_tokens,
        tokenizer_path=saved.tokenizer_path,  # the model's own, since the set may have been prepared with another one
    )
    if len(dataset) == 0:
        raise InputError(f"{split} has no samples", "Name a split that has some")
    return dataset
