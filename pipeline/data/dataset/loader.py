"""Batches: collate samples, and the loader of exact evaluation.

Shapes: B batch, C 3 colors, H = W the input size, T text tokens.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from pipeline.data.dataset.refer_dataset import ReferDataset, Sample, SampleInfo
from sharedris.image_input import normalize, normalize_batch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The input of a step.

    Attributes:
        image_BCHW: float32, -1 .. 1; or uint8, which `to` normalizes on the device.
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
        """Return the batch on a device; images of uint8 are normalized there."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        if moved.image_BCHW.dtype != torch.uint8:
            return moved
        return dataclasses.replace(moved, image_BCHW=normalize_batch(moved.image_BCHW))


def collate(samples: Sequence[Sample], *, bytes_only: bool = False) -> Batch:
    """Return samples as a batch.

    Args:
        samples: of the data set.
        bytes_only: leave images as uint8, a quarter of the memory to pass on, to pin and to copy to a GPU.
    """
    images = [sample.image_CSS for sample in samples]
    return Batch(
        image_BCHW=torch.stack(images) if bytes_only else normalize(images),
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


def evaluation_loader(
    dataset: ReferDataset,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    for_gpu: bool = False,
) -> DataLoader[Any]:
    """Return the batches of one rank, samples `range(rank, N, world_size)`, in order.

    `for_gpu` keeps images as uint8, in page-locked memory.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=ExactSampler(len(dataset), rank=rank, world_size=world_size),
        num_workers=workers,
        pin_memory=for_gpu,
        collate_fn=functools.partial(collate, bytes_only=for_gpu),
        generator=torch.Generator().manual_seed(0),
    )
