"""Workers that meet in the memory of their host: they read the rows of all, and wait for nobody who will not come."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from pipeline.distributed import shared_memory
from pipeline.distributed.process_group import Worker
from pipeline.distributed.shared_memory import open_host_memory
from tests.integration import workers

MEETINGS = 300


def meet_often(worker: Worker) -> list[list[float]]:
    """Return what a worker reads in each meeting; they come late in turn, some for longer than the others look."""
    memory, wait, found = open_host_memory(3, worker), random.Random(worker.rank), []
    assert memory is not None
    for number in range(MEETINGS):
        memory.own.copy_(torch.tensor([worker.rank, number, worker.rank * number]))
        if wait.random() < 0.05:
            time.sleep(wait.choice([0.001, 0.01, 0.05]))
        found.append(memory.meet().flatten().tolist())
    return found


@pytest.mark.parametrize("world_size", [2, 3])
def test_all_read_the_rows_of_all(world_size: int, tmp_path: Path) -> None:
    expected = [
        [float(value) for rank in range(world_size) for value in (rank, number, rank * number)]
        for number in range(MEETINGS)
    ]
    assert workers.call(world_size, meet_often, tmp_path) == [expected] * world_size


def wait_in_vain(worker: Worker, reason: str) -> tuple[str, float]:
    """Return what ends the wait for a worker that does not come, and after how many seconds."""
    memory = open_host_memory(3, worker)
    assert memory is not None
    if worker.rank == 1:
        time.sleep(0 if reason == "it has ended" else 2)
        return "", 0.0
    if reason == "the group is taken away":
        threading.Timer(0.3, dist.destroy_process_group).start()
    began = time.perf_counter()
    limit = 0.2 if reason == "it hangs" else shared_memory.COLLECTIVE_TIMEOUT_SECONDS
    with patch.object(shared_memory, "COLLECTIVE_TIMEOUT_SECONDS", limit), pytest.raises(dist.DistError) as ended:
        memory.meet()
    return str(ended.value), time.perf_counter() - began


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("it has ended", "another worker of this host has ended"),
        ("the group is taken away", "the process group was taken away"),
        ("it hangs", "another worker did not come in 0.2 s"),
    ],
)
def test_nobody_waits_for_ever(reason: str, said: str, tmp_path: Path) -> None:
    (found, seconds), _ = workers.call(2, wait_in_vain, tmp_path, reason)
    assert found == said
    assert seconds < 1.5


def share(worker: Worker, blind: int, what: str) -> bool:
    """Return whether a worker has shared memory where one of them lacks what it takes."""
    lacking = {
        "map": patch.object(shared_memory, "_map", lambda *_: None),
        "watch": patch.object(shared_memory, "_watch", lambda *_: None),
        "host": patch.object(shared_memory, "_host", lambda: "another"),
    }
    before = open_files()
    with lacking[what] if worker.rank == blind else contextlib.nullcontext():
        memory = open_host_memory(10, worker)
    if memory is None:
        assert open_files() == before, "something stays open"
    return memory is not None


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("what", ["map", "watch", "host"])
@pytest.mark.parametrize("blind", [0, 1])
def test_memory_is_shared_by_all_or_none(what: str, blind: int, tmp_path: Path) -> None:
    assert workers.call(2, share, tmp_path, blind, what) == [False] * 2


def elsewhere(worker: Worker) -> bool:
    """Return whether a worker takes memory of the right size for the leader's that is not."""
    if worker.rank == 0:
        return open_host_memory(10, worker) is None
    size = 2 * (64 + 2 * 10 * 4)
    with patch.object(shared_memory, "_map", return_value=torch.zeros(size, dtype=torch.uint8)):
        return open_host_memory(10, worker) is None


def on_another_processor(worker: Worker) -> bool:
    """Return whether workers share memory where another's stores may be seen in any order."""
    with patch.object(shared_memory.platform, "machine", lambda: "aarch64"):
        return open_host_memory(10, worker) is not None


def test_a_processor_that_reorders_stores_has_none(tmp_path: Path) -> None:
    assert workers.call(2, on_another_processor, tmp_path) == [False, False]


def test_memory_of_another_process_is_not_taken_for_the_leaders(tmp_path: Path) -> None:
    assert workers.call(2, elsewhere, tmp_path) == [True, True]
