"""Batches: collate samples, and one loader for training and one for exact evaluation.

Shapes: B batch, C 3 colors, H = W the input size, T text tokens.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from pipeline.data.dataset.combined import CombinedDataset
from pipeline.data.dataset.one_per_ref import OneSentencePerRef
from pipeline.data.dataset.refer_dataset import ReferDataset, Sample, SampleInfo
from sharedris.errors import InputError
from sharedris.image_input import normalize


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The input of a step.

    Attributes:
        image_BCHW: float32, -1 .. 1.
        token_ids_BT: int64.
        padding_BT: bool, True = padding.
        mask_BHW: uint8, 0 or 1, at the input size.
        samples: what each is, in order.
    """

    image_BCHW: torch.Tensor
    token_ids_BT: torch.Tensor
    padding_BT: torch.Tensor
    mask_BHW: torch.Tensor
    samples: tuple[SampleInfo, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def _map(self, change: Any) -> Batch:
        names = ("image_BCHW", "token_ids_BT", "padding_BT", "mask_BHW")
        return dataclasses.replace(self, **{name: change(getattr(self, name)) for name in names})

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (the loader calls this)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))


def collate(samples: Sequence[Sample]) -> Batch:
    """Return samples as a batch."""
    return Batch(
        image_BCHW=normalize([sample.image_CSS for sample in samples]),
        token_ids_BT=torch.from_numpy(np.stack([sample.token_ids_T for sample in samples])),
        padding_BT=torch.from_numpy(np.stack([sample.padding_T for sample in samples])),
        mask_BHW=torch.from_numpy(np.stack([sample.mask_SS for sample in samples])),
        samples=tuple(sample.info for sample in samples),
    )


class ExactSampler(Sampler[int]):
    """Exactly `range(rank, N, world_size)`: over all ranks every sample once, none padded, none dropped."""

    def __init__(self, samples: int, *, rank: int, world_size: int) -> None:
        self.indices = range(rank, samples, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


class SkipFirst(Sampler[int]):
    """Another sampler without its first `skip` indices."""

    def __init__(self, sampler: DistributedSampler[Any], *, skip: int) -> None:
        self.sampler, self.skip = sampler, skip

    def __len__(self) -> int:
        return max(0, len(self.sampler) - self.skip)

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(iter(self.sampler), self.skip, None)


def train_loader(
    dataset: ReferDataset | CombinedDataset | OneSentencePerRef,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    seed: int = 0,
    epoch: int = 0,
    workers: int = 0,
    pin_memory: bool = False,
    skip_batches: int = 0,
) -> DataLoader[Any]:
    """Return the batches of one epoch for one rank; their order depends only on seed and epoch.

    Args:
        batch_size: samples per rank and step; the last, incomplete batch is dropped.
        skip_batches: leave out the first ones without reading them, to continue an epoch.

    Raises:
        InputError: when there are fewer samples than one step takes.
    """
    if len(dataset) < batch_size * world_size:
        raise InputError(
            f"the training set has {len(dataset)} samples, one step takes {batch_size * world_size}",
            "Lower the global batch size",
        )
    dataset.set_epoch(epoch)
    sampler: DistributedSampler[Any] = DistributedSampler(
        dataset, num_replicas=world_size, rank=rank, shuffle=True, seed=seed, drop_last=True
    )
    sampler.set_epoch(epoch)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=SkipFirst(sampler, skip=skip_batches * batch_size),
        drop_last=True,
        num_workers=workers,
        pin_memory=pin_memory,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(seed),  # separate, so that the model's random numbers stay the same
    )


def evaluation_loader(
    dataset: ReferDataset,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Return the batches of one rank, samples `range(rank, N, world_size)`, in order."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=ExactSampler(len(dataset), rank=rank, world_size=world_size),
        num_workers=workers,
        pin_memory=pin_memory,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(0),
    )
