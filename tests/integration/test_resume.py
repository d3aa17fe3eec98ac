"""A run that was killed and started again ends with the same bits as one that never was."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.lifecycle.locks import RunHeldError, driver_lock
from pipeline.records import history_path
from tests.integration import workers

PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}


@pytest.fixture(scope="module")
def long_run(micro_run: RunConfig) -> RunConfig:
    """Six epochs with drop path, so that generators matter."""
    encoder = replace(micro_run.model.encoder, drop_path=0.2)
    return replace(
        micro_run,
        model=replace(micro_run.model, encoder=encoder),
        train=replace(micro_run.train, epochs=6),
    )


def job_at(config: RunConfig, toy_root: Path, runs: Path, world_size: int = 1, **options: Any) -> Job:
    """Return the job with checkpoints within epochs too."""
    execution = ExecutionConfig(
        device="cpu",
        prepared_root=str(toy_root),
        runs_root=str(runs),
        workers=world_size,
        checkpoint_every_steps=3,
        **options,
    )
    return resolve_job(config, execution, provenance=PROVENANCE)


class Reference:
    """A finished, never interrupted run: what it left, and how long it took."""

    def __init__(self, config: RunConfig, toy_root: Path, runs: Path, world_size: int, **options: Any) -> None:
        job = job_at(config, toy_root, runs, world_size, **options)
        assert (
            workers.finish(workers.start(job, world_size)) == [0] * world_size
        )  # the first start also starts the server
        shutil.rmtree(runs)
        begun = time.perf_counter()
        assert workers.finish(workers.start(job, world_size)) == [0] * world_size
        self.seconds = time.perf_counter() - begun
        self.outcome = workers.outcome(job)


ONE, TWO = pytest.param(1, id="one worker", marks=pytest.mark.slow), pytest.param(2, id="two workers")


@pytest.fixture(scope="module", params=[ONE, TWO])
def reference(request: Any, long_run: RunConfig, toy_root: Path, tmp_path_factory: Any) -> tuple[int, Reference]:
    """The uninterrupted run for each number of workers."""
    runs = tmp_path_factory.mktemp("reference") / "runs"
    return request.param, Reference(long_run, toy_root, runs, request.param)


def assert_same(job: Job, expected: dict[str, Any]) -> None:
    """Compare part by part, so that a failure says where."""
    got = workers.outcome(job)
    for part in ("history", "weights", "samples", "record"):
        assert got[part] == expected[part], part
    epochs = pd.read_parquet(history_path(job.runs_root, job.run_id))["epoch"].tolist()
    assert epochs == list(range(1, job.config.train.epochs + 1))
    assert not list(job.state_folder.glob("*checkpoint-*"))
    assert not list(job.state_folder.glob("*.partial"))
    assert not list(job.runs_root.rglob(f".{job.run_id}*"))


def kill_at_random(
    config: RunConfig,
    toy_root: Path,
    runs: Path,
    world_size: int,
    reference: Reference,
    *,
    kills: int,
    seed: int,
    **options: Any,
) -> list[str]:
    """Kill `kills` times at random moments, always starting again; check each run that ends."""
    rng, report, runs_ended = random.Random(seed), [], 0
    while len(report) < kills or runs_ended == 0:
        job = job_at(config, toy_root, runs / str(runs_ended), world_size, **options)
        processes = workers.start(job, world_size)
        after = rng.uniform(0.0, 0.9 * reference.seconds) if len(report) < kills else 120.0
        processes[0].join(after)
        one_of_them = rng.choice(processes)
        was_at_work = processes[0].is_alive()
        one_of_them.kill()  # the others are what a launcher would clear away
        workers.kill(processes)
        if was_at_work:
            newest = max((path.name for path in job.state_folder.glob("checkpoint-*.pt")), default="nothing")
            report.append(f"kill {len(report) + 1} after {after:.2f} s: {newest} left")
        else:
            assert job.done, (job.state_folder / "stderr-0").read_text()
            assert_same(job, reference.outcome)
            runs_ended += 1
    job = job_at(config, toy_root, runs / str(runs_ended), world_size, **options)
    assert workers.finish(workers.start(job, world_size)) == [0] * world_size
    assert_same(job, reference.outcome)
    return report


def test_killed_at_5_random_moments(
    reference: tuple[int, Reference], long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    world_size, expected = reference
    kills = 5 if world_size == 1 else 3
    for line in kill_at_random(long_run, toy_root, tmp_path, world_size, expected, kills=kills, seed=world_size):
        print(line)


@pytest.mark.slow
def test_killed_with_loader_processes_and_accumulated_gradients(
    long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"loader_workers": 1, "micro_batch_size": 2}
    expected = Reference(long_run, toy_root, tmp_path / "reference", 1, **options)
    for line in kill_at_random(long_run, toy_root, tmp_path, 1, expected, kills=10, seed=8, **options):
        print(line)


@pytest.mark.slow
def test_killed_at_20_random_moments(
    reference: tuple[int, Reference], long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    world_size, expected = reference
    for line in kill_at_random(long_run, toy_root, tmp_path, world_size, expected, kills=20, seed=10 + world_size):
        print(f"{world_size} workers, {line}")


def kill_at_file_event(
    config: RunConfig, toy_root: Path, runs: Path, world_size: int, reference: Reference, event: int
) -> bool:
    """Kill the leader at one write or rename and start again; return whether there was such an event."""
    job = job_at(config, toy_root, runs, world_size)
    first = workers.start(job, world_size, kill_at_file_event=event)
    first[0].join()
    killed = first[0].exitcode == -signal.SIGKILL
    workers.kill(first)
    assert workers.finish(workers.start(job, world_size)) == [0] * world_size
    assert_same(job, reference.outcome)
    return killed


@pytest.mark.parametrize("event", [6, 9, 11], ids=["half written", "no manifest yet", "no history yet"])
def test_killed_in_the_middle_of_a_checkpoint_write(
    reference: tuple[int, Reference], long_run: RunConfig, toy_root: Path, tmp_path: Path, event: int
) -> None:
    world_size, expected = reference
    if world_size == 2 and event != 6:
        pytest.skip("one of them is enough for two workers")
    assert kill_at_file_event(long_run, toy_root, tmp_path, world_size, expected, event)


@pytest.mark.slow
def test_killed_at_every_write_and_rename(
    reference: tuple[int, Reference], long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    world_size, expected = reference
    event = 1
    while kill_at_file_event(long_run, toy_root, tmp_path / str(event), world_size, expected, event):
        shutil.rmtree(tmp_path / str(event))
        event += 1 if world_size == 1 else 7
    print(f"{world_size} workers: killed at {event - 1} writes and renames")
    assert event > 40


def test_killed_between_record_and_clean_up(long_run: RunConfig, toy_root: Path, tmp_path: Path) -> None:
    job = job_at(long_run, toy_root, tmp_path, 1)
    assert workers.finish(workers.start(job)) == [0]
    left = [job.state_folder / name for name in ("checkpoint-00006-000000024.pt", ".checkpoint-00006.partial")]
    for path in left:
        path.touch()
    assert workers.finish(workers.start(job)) == [0]
    assert not [path for path in left if path.exists()]


def test_a_changed_configuration_never_continues_old_weights(
    long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    longer = replace(long_run, optim=replace(long_run.optim, weight_decay=0.1))
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    old = job_at(long_run, toy_root, shared)
    workers.start(old, kill_at_file_event=13)[0].join()
    assert list(old.state_folder.glob("checkpoint-*.pt"))
    beside, fresh = job_at(longer, toy_root, shared), job_at(longer, toy_root, alone)
    # Even where its files are put under the new run's name.
    shutil.copytree(old.state_folder, beside.state_folder, ignore=shutil.ignore_patterns("*.lock", "said*"))
    for job in (beside, fresh):
        assert workers.finish(workers.start(job)) == [0]
    said = (beside.state_folder / "log-0.json").read_text()
    assert "belongs to another configuration" in said
    assert_same(beside, workers.outcome(fresh))


def train_arguments(toy_root: Path, runs: Path) -> list[str]:
    """Return the command line of a run of the tiny scale."""
    return [
        *("train", "--prepared", str(toy_root), "--runs", str(runs), "--device", "cpu", "--epochs", "12"),
        *("--global-batch-size", "6", "--train.max-samples-per-epoch=24", "--checkpoint-every-steps", "3"),
        *("--model.fpn.stages", "1", "2", "--model.encoder.layers=2", "--model.encoder.image-size=64"),
    ]


@pytest.fixture(scope="module")
def undisturbed_command(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What that command leaves when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    command = workers.start_command(train_arguments(toy_root, folder / "runs"), folder / "output")
    assert workers.finish([command]) == [0], (folder / "output").read_text()
    return workers.outcome_below(folder / "runs")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_leaves_a_run_that_goes_on(
    number: int, code: int, undisturbed_command: dict[str, Any], toy_root: Path, tmp_path: Path
) -> None:
    arguments, output = train_arguments(toy_root, tmp_path / "runs"), tmp_path / "output"
    if number == signal.SIGINT:  # once is enough: making the store takes longer than the run
        arguments += ["--experiment", "signals"]
    command = workers.start_command(arguments, output)
    deadline = time.time() + 60
    while (
        not list((tmp_path / "runs" / "state").glob("*/checkpoint-*.json"))
        and time.time() < deadline
        and command.is_alive()
    ):
        time.sleep(0.02)
    assert command.is_alive(), output.read_text()
    os.kill(command.pid, number)  # type: ignore[arg-type]
    assert workers.finish([command]) == [code], output.read_text()
    assert "the same command goes on from here" in output.read_text()
    again = workers.start_command(arguments, output)
    assert workers.finish([again]) == [0], output.read_text()
    text = output.read_text()
    assert "resumed after epoch" in text
    got = workers.outcome_below(tmp_path / "runs")
    for part in ("history", "weights", "samples", "record"):
        assert got[part] == undisturbed_command[part], part
    assert [row["epoch"] for row in got["history"]] == list(range(1, 13))
    if "--experiment" in arguments:
        assert mlflow_epochs(tmp_path / "runs", "signals") == [list(range(1, 13))]


def mlflow_epochs(runs: Path, experiment: str) -> list[list[int]]:
    """Return the steps of every MLflow run's loss."""
    from mlflow import MlflowClient

    from pipeline.monitoring.mlflow_uri import tracking_uri

    client = MlflowClient(tracking_uri(runs))
    found = client.get_experiment_by_name(experiment)
    ids = [run.info.run_id for run in client.search_runs([found.experiment_id])]
    return [sorted(metric.step for metric in client.get_metric_history(run_id, "train/loss")) for run_id in ids]


def test_a_second_driver_is_told_who_holds_the_run(long_run: RunConfig, toy_root: Path, tmp_path: Path) -> None:
    job = job_at(long_run, toy_root, tmp_path)
    with driver_lock(job.state_folder), pytest.raises(RunHeldError) as refused, driver_lock(job.state_folder):
        pass
    assert f"is being run by process {os.getpid()} on " in str(refused.value)
    assert "stop it" in str(refused.value)
    with driver_lock(job.state_folder):  # given back
        pass
