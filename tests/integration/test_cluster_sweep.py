"""Two trials at a time of two workers each on two hosts, one of which is lost (`make test-cluster`, root)."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pipeline.files import read_json
from tests.integration.hosts import ENVIRONMENT, TwoHosts

pytestmark = pytest.mark.cluster
EPOCHS = 60


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHosts]:
    """Two hosts with a running Ray node of two CPUs each."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("network namespaces need root, ip and unshare")
    with TwoHosts(tmp_path_factory.mktemp("hosts"), cpus=2) as hosts:
        yield hosts


def training_now(runs: Path) -> list[str]:
    """The cells whose first epochs are behind them."""
    readings = [read_json(path) for path in runs.glob("state/*/progress.json")]
    return [each["run_id"] for each in readings if isinstance(each, dict) and each["epoch"] >= 3]


def test_a_lost_host_leaves_no_two_trials_that_wait_for_each_other(
    hosts: TwoHosts, toy_root: Path, tmp_path: Path
) -> None:
    """Two of four CPUs are left: enough for one trial at a time, whichever gets them first."""
    runs, output = tmp_path / "runs", tmp_path / "output"
    words = [
        *("-m", "pipeline.cli.main", "sweep", "run", "framework", "--prepared", str(toy_root), "--runs", str(runs)),
        *("--device", "cpu", "--epochs", str(EPOCHS), "--workers", "2", "--global-batch-size", "6"),
        *("--train.max-samples-per-epoch=24", "--model.encoder.image-size=64"),
    ]
    command = " ".join(f"'{word}'" for word in [sys.executable, *words])
    process = hosts.head.run(command, ENVIRONMENT, output)
    deadline = time.time() + 600
    while len(training_now(runs)) < 2:
        assert process.poll() is None, output.read_text()
        assert time.time() < deadline, f"two cells do not train at once:\n{output.read_text()}"
        time.sleep(0.2)
    hosts.other.kill()
    began = time.time()
    assert process.wait(900) == 0, output.read_text()
    print(f"\n{time.time() - began:.0f} s after the loss of a host both cells were done")
    assert "Ray: 4 CPU / 2 per run = 2 at once" in output.read_text()
    assert "lost workers and starts them again" in output.read_text()
    histories = [pd.read_parquet(path) for path in (runs / "history").glob("*.parquet")]
    assert [history["epoch"].tolist() for history in histories] == [list(range(1, EPOCHS + 1))] * 2
    assert {size for history in histories for size in history["world_size"]} == {2}
