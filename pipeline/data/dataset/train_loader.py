"""The batches of training: one loader for all epochs of a run, so that its processes start once."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from pipeline.data.dataset.combined import CombinedDataset
from pipeline.data.dataset.loader import Batch, collate
from pipeline.data.dataset.one_per_ref import OneSentencePerRef
from pipeline.data.dataset.refer_dataset import ReferDataset, Sample
from pipeline.data.dataset.step_order import StepGroups, in_groups
from pipeline.data.dataset.unreadable import ReplaceUnreadable
from sharedris.errors import InputError

MOST_PROCESSES = 8
"""Default processes of a GPU's loader: bench-data reads 319 images/s with one, and no GPU trains on 2,500."""

_GPUS_OF_MACHINE = Path("/proc/driver/nvidia/gpus")


def loader_processes(wanted: int | None, device: torch.device) -> int:
    """Return how many processes load the data of one worker: what is wanted, else a default.

    The default is 0 on a CPU, whose cores all compute, and min(8, cores per GPU - 1) on a GPU.
    """
    if wanted is not None:
        return wanted
    if device.type != "cuda":
        return 0
    # Ray shows a worker only its own GPU; the driver of the GPUs lists all of the machine.
    listed = len(list(_GPUS_OF_MACHINE.iterdir())) if _GPUS_OF_MACHINE.is_dir() else 0
    return processes_beside(len(os.sched_getaffinity(0)), max(listed, torch.cuda.device_count(), 1))


def processes_beside(cores: float, gpus: float) -> int:
    """Return the default number of loader processes of a GPU on a machine with so many cores and GPUs."""
    return max(0, min(MOST_PROCESSES, int(cores // gpus) - 1))


class TrainLoader:
    """The batches of one rank, epoch after epoch; their order depends only on seed and epoch.

    Args:
        dataset: of the samples.
        batch_size: samples per rank and step; the last, incomplete batch is dropped.
        rank: of this worker.
        world_size: number of workers.
        seed: of the order.
        workers: processes that load; they live as long as this object.
        for_gpu: keep images as uint8, in page-locked memory.
        groups: of a global batch, of which each is read by one rank in a row; None leaves the order as it is.

    Raises:
        InputError: when there are fewer samples than one step takes.
    """

    def __init__(
        self,
        dataset: ReferDataset | CombinedDataset | OneSentencePerRef | ReplaceUnreadable,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        workers: int = 0,
        for_gpu: bool = False,
        groups: StepGroups | None = None,
    ) -> None:
        if len(dataset) < batch_size * world_size:
            raise InputError(
                f"the training set has {len(dataset)} samples, one step takes {batch_size * world_size}",
                "Lower the global batch size",
            )
        self.batch_size = batch_size
        self._order = _EpochOrder(
            DistributedSampler(dataset, num_replicas=world_size, rank=rank, shuffle=True, seed=seed, drop_last=True),
            groups,
        )
        self._loader: DataLoader[Any] = DataLoader(
            _SamplesOfEpoch(dataset),
            batch_size=batch_size,
            sampler=self._order,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=for_gpu,
            collate_fn=functools.partial(collate, bytes_only=for_gpu),
            generator=torch.Generator().manual_seed(seed),  # separate, so that the model's random numbers stay the same
        )

    def epoch(self, epoch: int, *, skip_batches: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch without its first ones, which are not read."""
        self._order.start(epoch, skip=skip_batches * self.batch_size)
        return iter(self._loader)


class _EpochOrder(Sampler[tuple[int, int]]):
    """(epoch, index) of the samples of the chosen epoch, without its first ones."""

    def __init__(self, sampler: DistributedSampler[Any], groups: StepGroups | None) -> None:
        self.sampler, self.groups, self.epoch, self.skip = sampler, groups, 0, 0

    def start(self, epoch: int, *, skip: int) -> None:
        """Choose an epoch and how many of its samples are left out."""
        self.epoch, self.skip = epoch, skip
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return max(0, len(self.sampler) - self.skip)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        ranks = {"rank": self.sampler.rank, "world_size": self.sampler.num_replicas}
        order = iter(self.sampler) if self.groups is None else in_groups(list(self.sampler), self.groups, **ranks)
        return ((epoch, index) for index in itertools.islice(order, self.skip, None))


class _SamplesOfEpoch(Dataset[Sample]):
    """A data set asked by (epoch, index): processes that stay have their own copy, which nobody else can tell."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.epoch: int | None = None

    def __getitem__(self, position: tuple[int, int]) -> Sample:
        epoch, index = position
        if epoch != self.epoch:
            self.dataset.set_epoch(epoch)
            self.epoch = epoch
        sample: Sample = self.dataset[index]
        return sample
