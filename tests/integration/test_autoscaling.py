"""A cluster that starts its GPU nodes when they are asked for: real Ray with its fake provider, GPUs by name only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.ray_head import RayHead
from tests.integration.test_resume import train_arguments

pytestmark = pytest.mark.slow
NODE = {"node_config": {}, "min_workers": 0}
NODE_TYPES = {
    "gpu": {**NODE, "resources": {"GPU": 1, "accelerator_type:A100": 1}, "labels": {"pool": "lab"}, "max_workers": 2},
    "cpu": {**NODE, "resources": {"CPU": 1}, "max_workers": 1},
}


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    """A head that holds no worker, which may start two nodes with a GPU and one with a CPU."""
    with RayHead(cpus=0, node_types=NODE_TYPES) as head:
        yield head


def train(toy_root: Path, runs: Path, *options: str) -> list[str]:
    arguments = [word for word in train_arguments(toy_root, runs) if word not in ("--device", "cpu")]
    return [sys.executable, "-m", "pipeline.cli.main", *arguments, "--epochs", "1", *options]


def test_more_than_the_autoscaler_may_start_is_refused(head: RayHead, toy_root: Path, tmp_path: Path) -> None:
    ended = head.run(*train(toy_root, tmp_path, "--workers", "3", "--device", "cuda"))
    assert ended.returncode == 2, ended
    assert "may start nodes up to 2 GPU, and a run needs 3" in ended.stderr


def test_a_cluster_without_a_node_for_workers_starts_one(head: RayHead, toy_root: Path, tmp_path: Path) -> None:
    ended = head.run(*train(toy_root, tmp_path, "--device", "cpu"))
    assert ended.returncode == 0, ended
    assert "waiting for 1 CPU, 0 up, since " in ended.stdout + ended.stderr
    (record,) = (tmp_path / "records").glob("*.parquet")
    assert pd.read_parquet(record)["samples"].gt(0).all()


def test_auto_starts_a_gpu_node_of_the_kind_and_trains_on_no_cpu(head: RayHead, toy_root: Path, tmp_path: Path) -> None:
    wanted = ["--accelerator-type", "A100", "--node-label", "pool=lab"]
    ended = head.run(*train(toy_root, tmp_path, "--device", "auto", *wanted))
    assert "waiting for 1 GPU, 0 up, since " in ended.stdout + ended.stderr
    # The worker got its GPU, which exists by name only; the second line is that of a torch for CPUs.
    lines = "ProcessGroupNCCL is only supported with GPUs, no GPUs found", "doesn't have NCCL built in"
    assert any(line in ended.stderr for line in lines), ended
    assert ended.returncode == 3
    assert not list((tmp_path / "records").glob("*"))


def test_nodes_that_nobody_starts_are_waited_for_as_long_as_asked(
    head: RayHead, toy_root: Path, tmp_path: Path
) -> None:
    """Last, since the autoscaler may start a GPU node all the same, without the label."""
    ended = head.run(*train(toy_root, tmp_path, "--node-label", "pool=absent", "--wait-for-resources", "0.1"))
    assert ended.returncode == 2, ended
    assert "waiting for 1 GPU, 0 up, since " in ended.stdout + ended.stderr
    assert "1 GPU were not there within 0.1 minutes: 0 are up" in ended.stderr
