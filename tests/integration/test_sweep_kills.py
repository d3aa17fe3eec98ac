"""Ten real kills at random moments: of the driver, of a worker, of the whole Ray; nothing lost, nothing twice.

And two polite ways to end a sweep, Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline.config import RunConfig
from pipeline.records import HISTORY_SCHEMA, RECORD_SCHEMA, history_path, list_runs, read_table, record_path
from pipeline.run import run_in_process
from sharedris.config import to_dict
from tests.conftest import TOY
from tests.integration.micro_sweep import plan_of
from tests.integration.test_sweep import PLACES, TIMES, environment

KILLS = 10
EPOCHS = 400
VICTIMS = ("driver", "worker", "ray")


def descendants(process: int) -> dict[int, str]:
    """Process id -> command line of everything below a process."""
    table = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in table.splitlines()[1:]]
    found: dict[int, str] = {}
    grew = True
    while grew:
        new = {int(pid): args for pid, parent, args in rows if int(parent) in found or int(parent) == process}
        grew = len(new) > len(found)
        found = new
    return found


def strike(driver: subprocess.Popen, victim: str) -> str:
    """Kill the victim with SIGKILL; return what was hit."""
    if victim == "driver":
        driver.kill()
        return "driver"
    wanted = ("RayTrainWorker",) if victim == "worker" else ("gcs_server", "raylet/raylet")
    hit: list[int] = []
    deadline = time.time() + 90
    while not hit and driver.poll() is None and time.time() < deadline:
        hit = [pid for pid, args in descendants(driver.pid).items() if any(name in args for name in wanted)]
        time.sleep(0.1)
    for pid in hit:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return f"{victim} ({len(hit)} processes)"


def wait_for_training(runs: Path, *, since: float, driver: subprocess.Popen) -> None:
    """Wait until a run has written its progress, or the driver has nothing left to do."""
    while driver.poll() is None and time.time() - since < 180:
        if any(path.stat().st_mtime > since for path in runs.glob("state/*/progress.json")):
            return
        time.sleep(0.2)


def end(driver: subprocess.Popen) -> None:
    """Let the driver end by itself, or end it: a driver whose Ray is gone may wait for ever."""
    try:
        driver.wait(timeout=30)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()


@pytest.mark.slow
def test_ten_kills_change_nothing(toy_root: Path, micro_run: RunConfig, tmp_path: Path) -> None:
    rng = random.Random(2026)
    config = replace(micro_run, train=replace(micro_run.train, epochs=EPOCHS))
    path, runs = tmp_path / "config.json", tmp_path / "runs"
    path.write_text(json.dumps(to_dict(config)))
    command = [sys.executable, "-m", "tests.integration.micro_sweep", str(toy_root), str(runs), str(path)]
    struck = 0
    with (tmp_path / "log").open("w") as log:
        for number in range(KILLS):
            driver = subprocess.Popen(command, env=environment(), stdout=log, stderr=subprocess.STDOUT)
            if number % 4:  # most of them while cells train; some at any moment of the start
                wait_for_training(runs, since=time.time(), driver=driver)
            time.sleep(rng.uniform(0, 8))
            hit = strike(driver, VICTIMS[number % len(VICTIMS)])
            struck += "(0 " not in hit
            print(f"kill {number + 1}: {hit}; records: {len(list_runs(runs))}")
            if hit == "driver" or hit.startswith("ray"):
                end(driver)
            else:  # Ray replaces the worker; the driver goes on
                time.sleep(rng.uniform(2, 5))
                driver.kill()
                driver.wait()
        last = subprocess.run(
            command, env=environment(), stdout=log, stderr=subprocess.STDOUT, timeout=600, check=False
        )
    assert struck >= KILLS - 2, "most kills must have hit something"
    assert last.returncode == 3, (tmp_path / "log").read_text()[-3000:]

    undisturbed = plan_of(config, str(toy_root), str(tmp_path / "undisturbed"))
    jobs = [planned.job for planned in undisturbed.cells[:3] if planned.job is not None]
    assert list_runs(runs) == sorted(job.run_id for job in jobs)
    for job in jobs:
        run_in_process(job)
        here, there = (
            read_table(record_path(root, job.run_id), RECORD_SCHEMA).drop(columns=TIMES + PLACES)
            for root in (job.runs_root, runs)
        )
        pd.testing.assert_frame_equal(here, there)
        history = read_table(history_path(runs, job.run_id), HISTORY_SCHEMA)
        assert history["epoch"].tolist() == list(range(1, EPOCHS + 1))

    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("micro")
    assert experiment is not None
    children = [r for r in client.search_runs([experiment.experiment_id]) if "mlflow.parentRunId" in r.data.tags]
    assert sorted(run.info.status for run in children) == ["FAILED", "FINISHED", "FINISHED", "FINISHED"]
    for run in children:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")]
        assert steps == sorted(set(steps))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_sweep_that_is_told_to_stop_does_so_at_once(number: int, code: int, toy_root: Path, tmp_path: Path) -> None:
    runs, log = tmp_path / "runs", tmp_path / "log"
    options = ["--prepared", str(toy_root), "--runs", str(runs), "--data", TOY, "--epochs", "200"]
    command = [sys.executable, "-m", "sweeps", "run", "fpn", *options]
    with log.open("w") as stream:
        driver = subprocess.Popen(
            command, env=environment(), stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.time() + 120
        while not list(runs.glob("state/*/checkpoint-*.pt")) and driver.poll() is None and time.time() < deadline:
            time.sleep(0.2)
        started = descendants(driver.pid)
        assert any("RayTrainWorker" in args for args in started.values()), log.read_text()
        if number == signal.SIGINT:
            os.killpg(driver.pid, number)  # a terminal's Ctrl-C reaches all in the foreground
        else:
            driver.send_signal(number)
        assert driver.wait(timeout=60) == code, log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    assert "the same command goes on from here" in log.read_text()
    assert "Traceback" not in log.read_text()
    time.sleep(2)
    assert not [args for pid, args in started.items() if args == running(pid)], "processes of Ray are left"
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert not [run for run in client.search_runs(experiments) if run.info.status == "RUNNING"]
    assert list(runs.glob("state/*/checkpoint-*.pt"))


def running(pid: int) -> str:
    """Return the command line of a process; nothing where it has ended."""
    return subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
