"""One checkpoint for all ranks, read and verified once on each node; nodes are folders here."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline import shared_folder
from pipeline.distributed.process_group import Worker
from pipeline.training import checkpoints, resume
from sharedris.errors import InputError
from tests.integration import workers

RUN = "tiny-toy-s0-abc"


def save(root: Path, value: float = 1.0) -> Path:
    """Write a checkpoint below the folder of a node."""
    state = {"content_hash": "abc", "epoch": 1, "step": 4, "model": {"w": torch.full((9,), value)}}
    return checkpoints.save(root / "state" / RUN, state, epoch=1, step=4)


def load_on(worker: Worker, nodes: tuple[str, ...], root: Path, arrives_seconds: float) -> tuple[Any, list[float]]:
    """Load as the worker of a node: what was loaded or the error, and when files were hashed."""
    hashed, whole_digest = [], checkpoints._sha256

    def counted(path: Path) -> str:
        hashed.append(time.monotonic())
        time.sleep(0.2)
        return whole_digest(path)

    checkpoints._sha256, shared_folder.FILE_ARRIVES_SECONDS = counted, arrives_seconds  # a process of its own
    load, loaded = checkpoints.load, []

    def noted(path: Path) -> dict[str, Any]:
        loaded.append(time.monotonic())
        return load(path)

    checkpoints.load = noted  # type: ignore[assignment]
    job: Any = SimpleNamespace(state_folder=root / nodes[worker.rank] / "state" / RUN, content_hash="abc")
    try:
        local_rank = nodes[: worker.rank].count(nodes[worker.rank])
        found = resume.load_checkpoint(job, replace(worker, local_rank=local_rank))
    except InputError as error:
        return str(error), hashed
    return (None if found is None else float(found["model"]["w"][0])), [*hashed, *(-each for each in loaded)]


def test_each_node_hashes_once_and_before_its_other_workers_read(tmp_path: Path) -> None:
    for node in ("a", "b"):
        save(tmp_path / node)
    seen = workers.call(4, load_on, tmp_path, ("a", "a", "b", "b"), tmp_path, 0.0)
    assert [value for value, _ in seen] == [1.0] * 4
    times = [moments for _, moments in seen]
    assert [sum(each > 0 for each in moments) for moments in times] == [1, 0, 1, 0]
    verified = times[2][0] + 0.2
    for rank in (1, 2, 3):
        assert -times[rank][-1] >= verified, "none reads before the slowest node has verified"


@pytest.mark.parametrize("damage", ["missing", "flipped byte"])
def test_a_node_that_reads_another_file_ends_the_run_on_all_ranks(damage: str, tmp_path: Path) -> None:
    save(tmp_path / "a")
    path = save(tmp_path / "b")
    if damage == "missing":
        shutil.rmtree(path.parent)
    else:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    seen = workers.call(2, load_on, tmp_path, ("a", "b"), tmp_path, 0.0)
    assert len({value for value, _ in seen}) == 1
    assert "is missing or damaged on" in seen[0][0]


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert load_on(Worker(), ("a",), tmp_path, 0.0) == (None, [])


def test_the_first_worker_of_each_node_is_known() -> None:
    first = [
        Worker(rank=rank, world_size=4, local_rank=local).is_first_on_node for rank, local in enumerate((0, 0, 1, 1))
    ]
    assert first == [True, True, False, False]
    assert [Worker(rank=rank, world_size=2).is_first_on_node for rank in range(2)] == [True, False]
