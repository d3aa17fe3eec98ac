"""What the workers of a node ask a real S3 server for when a run goes on: each checkpoint once, hashed on arrival."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.distributed.process_group import Worker
from pipeline.lifecycle.stored_run import bring_run
from pipeline.object_store.address import working_folder
from pipeline.object_store.mirror import Mirror
from pipeline.object_store.objects import open_objects
from pipeline.training import checkpoints
from pipeline.training.resume import load_checkpoint
from tests.integration import workers
from tests.integration.object_server import Faults, environment, proxy_of, s3_server
from tests.integration.test_object_store import Bucket

pytestmark = pytest.mark.slow
pytest.importorskip("obstore", reason="the extra `store` is not installed")
pytest.importorskip("moto", reason="the extra `dev` is not installed")
RUN = "tiny-toy-s0-abc"
NODES = ("a", "a", "a", "b", "b")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server for this file."""
    with s3_server(tmp_path_factory.mktemp("server")) as number:
        yield number


def bring_and_load(worker: Worker, url: str, port: int, folder: Path) -> tuple[float, int]:
    """Do what a worker does before its first step; return what it loaded, and how often it hashed a file."""
    os.environ.update(environment(port, folder / NODES[worker.rank]))
    hashed, digest = [], checkpoints._sha256
    checkpoints._sha256 = lambda path: hashed.append(path) or digest(path)  # type: ignore[func-returns-value]
    mirror = Mirror(working_folder(url, f"workers/{RUN}"), open_objects(url))
    worker.barrier()  # all at once
    bring_run(mirror, RUN, discard=worker.is_main_process)
    job: Any = SimpleNamespace(state_folder=mirror.root / "state" / RUN, content_hash="abc")
    saved = load_checkpoint(job, replace(worker, local_rank=NODES[: worker.rank].count(NODES[worker.rank])))
    assert saved is not None
    return float(saved["model"]["w"].sum()), len(hashed)


def test_five_workers_on_two_nodes_bring_each_checkpoint_twice(port: int, tmp_path: Path) -> None:
    bucket, faults = Bucket("once", port, tmp_path / "put"), Faults()
    with bucket.here():
        first = Mirror(working_folder(bucket.url), open_objects(bucket.url))
        for step in (4, 8):
            state = {
                "content_hash": "abc",
                "epoch": step // 4,
                "step": step,
                "model": {"w": torch.full((10**6,), step)},
            }
            checkpoints.save(first.root / "state" / RUN, state, epoch=step // 4, step=step)
        first.push(RUN, lambda: None)
    with proxy_of(port, faults) as through:
        seen = workers.call(len(NODES), bring_and_load, tmp_path, bucket.url, through, tmp_path)
    asked = Counter(Path(path).name for method, path in faults.asked if method == "GET" and path.endswith(".pt"))
    names = [checkpoints.path_of(Path(), epoch=step // 4, step=step).name for step in (4, 8)]
    assert dict(asked) == dict.fromkeys(names, len(set(NODES)))
    assert seen == [(8e6, 0)] * len(NODES), "verified on arrival, and not once more"
