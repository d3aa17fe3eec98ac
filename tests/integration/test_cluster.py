"""Two hosts with their own addresses: runs end whatever happens to one of them (`make test-cluster`, root)."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pipeline.files import read_json
from tests.integration.hosts import TwoHosts
from tests.integration.test_resume import train_arguments

pytestmark = pytest.mark.cluster
EPOCHS = 60
ORPHANS_END_SECONDS = 90
PATIENCE_SECONDS = 600  # with what a whole command, or a part of it, ends on a busy machine too


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHosts]:
    """Two hosts with a running Ray node each."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("network namespaces need root, ip and unshare")
    if subprocess.run(["ip", "netns", "add", "risprobe"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let us make network namespaces")
    subprocess.run(["ip", "netns", "del", "risprobe"], check=True)
    with TwoHosts(tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts


class Training:
    """`sharedris train` with two workers, one on each host."""

    def __init__(self, hosts: TwoHosts, toy_root: Path, folder: Path, *options: str, epochs: int = EPOCHS) -> None:
        self.runs, self.output, self.began = folder / "runs", folder / "output", time.time()
        self.epochs = epochs
        arguments = [*train_arguments(toy_root, self.runs), "--epochs", str(epochs), "--workers", "2", *options]
        self.process = hosts.command(arguments, self.output)

    def wait_for_epoch(self, epoch: int) -> None:
        """Wait until this epoch is being trained."""
        while time.time() < self.began + PATIENCE_SECONDS:
            for path in self.runs.glob("state/*/progress.json"):
                progress = read_json(path)
                if progress is not None and progress["epoch"] >= epoch:
                    return
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.05)
        raise TimeoutError(self.output.read_text())

    def wait_for_world(self, size: int) -> None:
        """Wait until the last epoch was finished by so many workers; a node that has just come is taken in late."""
        while time.time() < self.began + PATIENCE_SECONDS:
            for path in self.runs.glob("history/*.parquet"):
                # From one reading: pandas opens a path twice, and the file may be replaced in between.
                if pd.read_parquet(io.BytesIO(path.read_bytes()))["world_size"].iloc[-1] == size:
                    return
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.2)
        raise TimeoutError(self.output.read_text())

    def history(self) -> pd.DataFrame:
        """Wait for the end and return the rows of all epochs, each of which is there once."""
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.output.read_text()
        history = pd.read_parquet(next((self.runs / "history").glob("*.parquet")))
        assert history["epoch"].tolist() == list(range(1, self.epochs + 1))
        assert history["samples"].unique().tolist() == [24]
        record = pd.read_parquet(next((self.runs / "records").glob("*.parquet")))
        assert record["samples"].gt(0).all()
        changed = history["world_size"].ne(history["world_size"].shift())
        worlds = history[changed][["world_size", "epoch"]].values.tolist()
        print(f"\n{time.time() - self.began:.0f} s; [workers, from epoch]: {worlds}")
        return history

    def weights(self) -> bytes:
        """Return the exported weights."""
        return next((self.runs / "models").glob("*/model.safetensors")).read_bytes()


@pytest.fixture(scope="module")
def undisturbed(hosts: TwoHosts, toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The run that nothing happens to."""
    training = Training(hosts, toy_root, tmp_path_factory.mktemp("undisturbed"))
    training.wait_for_epoch(2)
    assert hosts.head.processes("RayTrainWorker"), "no worker on the first host"
    assert hosts.other.processes("RayTrainWorker"), "no worker on the second host"
    assert training.history()["world_size"].unique().tolist() == [2]
    return training


def test_a_run_over_two_hosts_ends(undisturbed: Training) -> None:
    assert "epoch  60/60" in undisturbed.output.read_text()


def test_a_killed_worker_is_replaced(hosts: TwoHosts, undisturbed: Training, toy_root: Path, tmp_path: Path) -> None:
    training = Training(hosts, toy_root, tmp_path)
    training.wait_for_epoch(5)
    os.kill(hosts.other.processes("RayTrainWorker")[0], signal.SIGKILL)
    assert training.history()["world_size"].unique().tolist() == [2]
    assert training.weights() == undisturbed.weights()


def test_a_killed_node_that_returns(hosts: TwoHosts, undisturbed: Training, toy_root: Path, tmp_path: Path) -> None:
    training = Training(hosts, toy_root, tmp_path)
    training.wait_for_epoch(5)
    hosts.other.kill()
    time.sleep(5)
    hosts.start_node(hosts.other)
    assert training.history()["world_size"].unique().tolist() == [2]
    assert training.weights() == undisturbed.weights()


def test_a_node_that_stays_away_leaves_one_worker_with_the_whole_batch(
    hosts: TwoHosts, toy_root: Path, tmp_path: Path
) -> None:
    with hosts.give_back():
        training = Training(hosts, toy_root, tmp_path, "--min-workers", "1", epochs=200)
        training.wait_for_world(2)
        hosts.other.kill()
        worlds = training.history()["world_size"]
    assert worlds[worlds.ne(worlds.shift())].tolist()[-2:] == [2, 1]


def test_a_node_that_returns_late_is_taken_back(hosts: TwoHosts, toy_root: Path, tmp_path: Path) -> None:
    with hosts.give_back():
        training = Training(hosts, toy_root, tmp_path, "--min-workers", "1", epochs=400)
        training.wait_for_world(2)
        hosts.other.kill()
        training.wait_for_world(1)
        hosts.start_node(hosts.other)
        worlds = training.history()["world_size"]
    assert worlds[worlds.ne(worlds.shift())].tolist()[-3:] == [2, 1, 2]


def test_a_link_that_is_cut_silently(hosts: TwoHosts, toy_root: Path, tmp_path: Path) -> None:
    with hosts.give_back():
        training = Training(hosts, toy_root, tmp_path, "--min-workers", "1", epochs=200)
        training.wait_for_world(2)
        hosts.other.plug_in(False)
        worlds = training.history()["world_size"]
    assert worlds[worlds.ne(worlds.shift())].tolist()[-2:] == [2, 1]


def test_a_dead_head_takes_all_with_it_and_the_same_command_goes_on(
    hosts: TwoHosts, undisturbed: Training, toy_root: Path, tmp_path: Path
) -> None:
    training = Training(hosts, toy_root, tmp_path)
    training.wait_for_epoch(5)
    hosts.head.kill()  # with the driver
    try:
        deadline = time.time() + ORPHANS_END_SECONDS
        while hosts.other.processes("ray"):
            assert time.time() < deadline, "the second host still has processes of the dead cluster"
            time.sleep(0.5)
    finally:
        hosts.other.kill()
        hosts.start()
    again = Training(hosts, toy_root, tmp_path)
    assert again.history()["world_size"].unique().tolist() == [2]
    assert "resumed after epoch" in again.output.read_text()
    assert again.weights() == undisturbed.weights()


def test_storage_that_is_not_shared_is_found_before_training(hosts: TwoHosts, toy_root: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    arguments = [*train_arguments(toy_root, hosts.private / "runs"), "--workers", "2"]
    assert hosts.command(arguments, output).wait(PATIENCE_SECONDS) == 2, output.read_text()
    text = output.read_text()
    assert "not every node sees the same files" in text
    assert "(10.77.0.2): No such file or directory" in text
    assert "to a folder that all nodes mount and may write" in text
    assert len(text.strip().splitlines()) <= 2, text
