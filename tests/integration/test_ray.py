"""One job under Ray Train: the same bits as without it, lost workers replaced, hopeless runs not retried.

Ray starts once for this file. Each `fit` costs about ten seconds, most of it the start of worker processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

from pipeline import shared_folder
from pipeline.cluster import launch, storage_check, train_run
from pipeline.cluster.network import interface_of
from pipeline.cluster.placement import free_placement_group
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.failures import RunError, describe_lost_workers, failure, write_failure
from pipeline.files import read_json, write_json
from pipeline.job import Job, resolve_job
from pipeline.monitoring.run_monitor import RunMonitor
from pipeline.records import history_path
from sharedris.errors import InputError
from tests.integration import workers
from tests.integration.test_resume import PROVENANCE


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A private Ray on this machine."""
    with launch.ray_cluster(cpus=2):
        yield


@pytest.fixture(scope="module")
def longer_run(micro_run: RunConfig) -> RunConfig:
    """Long enough for a worker to be killed in the middle."""
    encoder = replace(micro_run.model.encoder, drop_path=0.2)
    return replace(
        micro_run, model=replace(micro_run.model, encoder=encoder), train=replace(micro_run.train, epochs=25)
    )


def job_at(config: RunConfig, toy_root: Path, runs: Path) -> Job:
    execution = ExecutionConfig(
        device="cpu", prepared_root=str(toy_root), runs_root=str(runs), workers=2, checkpoint_every_steps=3
    )
    job = resolve_job(config, execution, provenance=PROVENANCE)
    job.state_folder.mkdir(parents=True)
    return job


def kill_rank_zero_once(job: Job, killed: list[int]) -> None:
    """SIGKILL the worker of rank zero when its tenth epoch has begun."""
    deadline = time.time() + 280
    while time.time() < deadline:
        progress = read_json(job.state_folder / "progress.json")
        if progress is not None and progress["epoch"] >= 10:
            os.kill(progress["process"], signal.SIGKILL)
            killed.append(progress["process"])
            return
        time.sleep(0.01)


@pytest.mark.slow  # two trainings of 25 epochs: minutes on a busy machine
def test_a_killed_worker_is_replaced_and_the_bits_are_those_of_no_ray_at_all(
    cluster: None, longer_run: RunConfig, toy_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pipeline")
    plain, job = job_at(longer_run, toy_root, tmp_path / "plain"), job_at(longer_run, toy_root, tmp_path / "ray")
    killed: list[int] = []
    killer = threading.Thread(target=kill_rank_zero_once, args=(job, killed), daemon=True)
    killer.start()
    monitor = RunMonitor([job], labels={job.run_id: "cell"})
    train_run.fit(job)
    killer.join()
    assert killed, "the run ended before it could be killed"
    monitor.poll()
    lines = caplog.messages
    assert any(line.startswith(f"rank 0: {job.run_id}: resumed after epoch") for line in lines), (
        "a worker's line, with its rank"
    )
    assert any(f"{job.run_id} lost workers and starts them again: " in line for line in lines)
    assert workers.finish(workers.start(plain, 2)) == [0, 0]
    got, expected = workers.outcome(job), workers.outcome(plain)
    for part in ("history", "weights", "samples"):
        assert got[part] == expected[part], part
    history = pd.read_parquet(history_path(job.runs_root, job.run_id))
    assert history["epoch"].tolist() == list(range(1, 26))
    assert not (job.state_folder / "placement_group").exists()
    assert not list((job.runs_root / "ray").glob("*"))


@pytest.mark.slow
def test_a_run_that_would_fail_again_is_not_retried(
    cluster: None, longer_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    hopeless = replace(longer_run, optim=replace(longer_run.optim, learning_rate=1e30))
    job = job_at(hopeless, toy_root, tmp_path)
    with pytest.raises(RunError, match=r"NonFiniteLossError: .* is not finite at step \d+; samples of the batch: toyp"):
        train_run.fit(job)
    assert "toyplus_unc/train#" in str(failure(job))
    said = read_json(job.state_folder / "failure.json")
    assert said["trace"].startswith("Traceback")


def test_a_cluster_that_holds_no_run_is_refused_with_the_arithmetic(cluster: None) -> None:
    with pytest.raises(InputError, match=r"2 CPU / 3 per run = 0 at once.*WORKERS \(--workers\) to 2"):
        launch.capacity(ExecutionConfig(device="cpu", workers=3))
    assert launch.capacity(ExecutionConfig(device="cpu", workers=3, min_workers=2)).trials == 1


def test_storage_of_one_node_needs_no_check(cluster: None, tmp_path: Path) -> None:
    storage_check.check_shared_storage(tmp_path / "runs", [])
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("listed", [1, 2], ids=["and is seen to be dead", "and is still listed"])
def test_a_node_that_does_not_answer(
    listed: int, cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ray.nodes()
    dead = {**real[0], "NodeID": "0" * 56, "NodeManagerHostname": "gone"}
    answers = iter([[*real, dead]] * listed + [real])
    monkeypatch.setattr(ray, "nodes", lambda: next(answers))
    if listed == 1:  # Ray takes a while to notice that a node has died
        storage_check.check_shared_storage(tmp_path, [])
    else:
        with pytest.raises(InputError, match=r"gone \(.*\): does not answer"):
            storage_check.check_shared_storage(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_does_not_see_the_runs_is_like_one_that_is_away(
    cluster: None, micro_run: RunConfig, toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_at(micro_run, toy_root, tmp_path)
    monkeypatch.setattr(shared_folder, "FILE_ARRIVES_SECONDS", 2.0)
    (tmp_path / "there").touch()
    threading.Timer(1.0, (tmp_path / "late").touch).start()
    assert [shared_folder.arrives((tmp_path / name).exists) for name in ("there", "late", "never")] == [
        True,
        True,
        False,
    ]
    with pytest.raises(FileNotFoundError, match=r"does not see .*never, which .* \(storage not mounted\?\)"):
        train_run.require_marker_file(job, tmp_path / "never")
    assert failure(job) is None, "the run itself has not failed"


def test_memory_that_a_node_lacks_is_told_with_what_to_change(
    micro_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    killed = RuntimeError(
        "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: ::1) "
        "was 23.1GB used / 23.54GB limit (0.98)\nOOM kill reason: Memory usage"
    )
    lost = RuntimeError("worker group failed")
    lost.worker_failures = {0: killed}  # type: ignore[attr-defined]
    for error in (killed, lost):
        said = describe_lost_workers(error, job_at(micro_run, toy_root, tmp_path / str(id(error))))
        assert "a node ran out of memory (23.1GB used / 23.54GB limit)" in said
        assert "with 3 samples a forward: set --micro-batch-size" in said
        assert "last good checkpoint: none" in said


class TestRestarts:
    """When `fit` starts lost workers again; a stand-in for one worker group raises what Ray raises."""

    def fit(self, job: Job, monkeypatch: pytest.MonkeyPatch, *ends: Callable[[], Exception | None]) -> int:
        """Fit with worker groups that end like this, one after the other; return how many were started."""
        started = 0

        def end(_: Job) -> None:
            nonlocal started
            started += 1
            if error := ends[min(started, len(ends)) - 1]():
                raise error

        monkeypatch.setattr(train_run, "_fit_once", end)
        monkeypatch.setattr(train_run, "arrives", lambda path: True)
        with contextlib.suppress(RunError):
            train_run.fit(job)
        return started

    @pytest.fixture
    def job(self, micro_run: RunConfig, toy_root: Path, tmp_path: Path) -> Job:
        return job_at(micro_run, toy_root, tmp_path)

    def test_they_end_when_no_checkpoint_advances(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.fit(job, monkeypatch, lost) == 1 + train_run.RESTARTS
        assert failure(job) == "RuntimeError: connection closed by peer"

    def test_they_go_on_while_checkpoints_advance(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        def lost_after_a_checkpoint() -> Exception:
            count = len(list(job.state_folder.glob("checkpoint-*.json"))) + 1
            write_json(job.state_folder / f"checkpoint-{count:05d}-{count:09d}.json", {})
            return lost()

        assert self.fit(job, monkeypatch, *[lost_after_a_checkpoint] * 6, lambda: None) == 7
        assert failure(job) is None

    def test_a_lost_controller_is_a_loss_too(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.fit(job, monkeypatch, ActorDiedError, lambda: None) == 2

    def test_so_is_a_controller_that_cannot_call_its_workers(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        away = ControllerError(ActorUnavailableError("RpcError: Unavailable rpc_code: 14", None))
        assert self.fit(job, monkeypatch, lambda: away, lambda: None) == 2
        assert self.fit(job, monkeypatch, lambda: ControllerError(TypeError("a defect"))) == 1

    def test_a_cause_that_is_written_down_ends_them_at_once(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        def lost_for_a_reason() -> Exception:
            write_failure(job, RuntimeError(), "NaN", "trace")
            return lost()

        assert self.fit(job, monkeypatch, lost_for_a_reason) == 1

    def test_so_does_one_that_could_not_be_written_down(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.fit(job, monkeypatch, lambda: lost(RunError("No space left on device"))) == 1

    def test_whether_ray_passes_it_on_as_its_trace_or_as_it_is(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.fit(job, monkeypatch, lambda: WorkerGroupError("lost", {0: RunError("disk full")})) == 1

    @pytest.mark.parametrize("damage", [b"", b"0" * 35, b"z" * 36, b"\xff"])
    def test_a_damaged_placement_group_does_not_end_the_driver(self, damage: bytes, job: Job) -> None:
        (job.state_folder / "placement_group").write_bytes(damage)
        assert not free_placement_group(job.state_folder)


def lost(error: Exception | None = None) -> Exception:
    """Return what Ray raises when a worker has ended with an error: Ray passes the error on as its trace."""
    try:
        raise error or RuntimeError("connection closed by peer")
    except Exception as raised:
        trace = traceback.format_exc()
        return WorkerGroupError("lost", {0: UserExceptionWithTraceback(raised, trace)})


def test_the_interface_of_an_address_is_found() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.7") is None


def test_an_address_without_a_cluster_is_one_line(monkeypatch: Any) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match="no Ray cluster at RAY_ADDRESS=127.0.0.1:1: Connection refused"):
        launch.ray_cluster().__enter__()
