"""Epochs of one sentence per ref, as CRIS, CGFormer and LAVT draw them, in place of every sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pipeline.data.dataset.combined import CombinedDataset
from pipeline.data.dataset.refer_dataset import Sample


class OneSentencePerRef(torch.utils.data.Dataset[Sample]):
    """One sample per ref; each epoch draws its sentence anew, uniformly among those of the ref.

    The draw depends only on seed and epoch. So a resumed epoch reads the sentences of the one that was interrupted,
    and every rank and every loader process reads the same.

    Args:
        dataset: all sentences.
        seed: of the draws.
    """

    def __init__(self, dataset: CombinedDataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self._starts_R = dataset.ref_starts()
        self._sentences_R = np.diff(self._starts_R, append=len(dataset))
        self._chosen_R = self._draw(0)

    @property
    def removed(self) -> Any:
        """What the data set leaves out; see `CombinedDataset`."""
        return self.dataset.removed

    def __len__(self) -> int:
        return len(self._starts_R)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the sentences and augmentation depend on."""
        self.dataset.set_epoch(epoch)
        self._chosen_R = self._draw(epoch)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.dataset[int(self._chosen_R[index])]

    def _draw(self, epoch: int) -> np.ndarray:
        """Return the index of one sentence per ref, from a generator that nothing else reads."""
        return self._starts_R + np.random.default_rng([self.seed, epoch]).integers(0, self._sentences_R)
