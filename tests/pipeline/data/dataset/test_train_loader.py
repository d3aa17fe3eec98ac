"""One loader for all epochs of a run: order, positions in an epoch, images as bytes, processes and their cores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.cluster.worker_resources import cores_of_gpu_worker
from pipeline.config import ExecutionConfig
from pipeline.data.dataset.combined import training_dataset
from pipeline.data.dataset.loader import collate
from pipeline.data.dataset.train_loader import TrainLoader, loader_processes, processes_beside


def loader(root: Path, *, workers: int = 0) -> TrainLoader:
    data = training_dataset(root, ("toyplus_unc",), image_size=32, text_tokens=12, horizontal_flip=True, seed=7)
    return TrainLoader(data, batch_size=4, seed=7, workers=workers)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_that_stay_read_the_same_epochs(toy_root: Path) -> None:
    alone, helped = loader(toy_root), loader(toy_root, workers=1)
    for epoch in (0, 3, 1):  # of a resumed run too, which begins anywhere
        skip = epoch
        ours, theirs = (list(each.epoch(epoch, skip_batches=skip)) for each in (alone, helped))
        assert len(ours) == len(theirs) > 2
        for one, other in zip(ours, theirs, strict=True):
            assert one.samples == other.samples
            assert torch.equal(one.image_BCHW, other.image_BCHW), "with the flips of this epoch"
    first = next(iter(alone.epoch(3)))
    assert [info.index for info in first.samples] != [info.index for info in next(iter(alone.epoch(4))).samples]
    whole = [batch.samples for batch in alone.epoch(2)]
    next(iter(alone.epoch(2)))  # an epoch that is not read to its end
    assert [batch.samples for batch in alone.epoch(2, skip_batches=1)] == whole[1:]


def test_bytes_are_normalized_on_the_device_to_the_same_bits(toy_root: Path) -> None:
    data = training_dataset(toy_root, ("toyplus_unc",), image_size=32, text_tokens=12, horizontal_flip=True, seed=7)
    samples = [data[index] for index in range(5)]
    packed = collate(samples, bytes_only=True)
    assert packed.image_BCHW.dtype == torch.uint8
    assert packed.image_BCHW.is_contiguous()
    assert torch.equal(packed.to("cpu").image_BCHW, collate(samples).image_BCHW)


@pytest.mark.parametrize(("cores", "gpus", "expected"), [(64, 8, 7), (96, 8, 8), (4, 4, 0), (16, 1, 8), (6, 4, 0)])
def test_a_gpu_gets_its_part_of_the_cores(cores: int, gpus: int, expected: int) -> None:
    assert processes_beside(cores, gpus) == expected


def test_a_cpu_loads_in_its_own_process_unless_told_otherwise() -> None:
    assert loader_processes(None, torch.device("cpu")) == 0
    assert loader_processes(3, torch.device("cpu")) == 3
    assert 0 <= loader_processes(None, torch.device("cuda")) <= 8


def test_ray_reserves_the_cores_that_load() -> None:
    def node(cores: int, gpus: int, *, alive: bool = True) -> dict[str, object]:
        return {"Alive": alive, "Resources": {"CPU": cores, **({"GPU": gpus} if gpus else {})}}

    nodes = [node(64, 8), node(16, 4), node(8, 0), node(1, 1, alive=False)]
    assert cores_of_gpu_worker(ExecutionConfig(), nodes) == 4, "one and three that load: 16 cores for 4 GPUs"
    assert cores_of_gpu_worker(ExecutionConfig(loader_workers=1), nodes) == 2
    assert cores_of_gpu_worker(ExecutionConfig(loader_workers=16), nodes) == 4, "more would never be there"
    assert cores_of_gpu_worker(ExecutionConfig(), [node(8, 0)]) == 0
