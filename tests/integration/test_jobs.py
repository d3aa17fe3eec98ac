"""Commands as jobs of a real head with a dashboard: in its environment, with a working folder, stopped."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cluster.run_gauges import GAUGES
from tests.integration.ray_head import TOKEN, RayHead
from tests.integration.ray_jobs import BIN, COMMIT, SMALL, Jobs, write_clone
from tests.integration.test_resume import train_arguments

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    """A head with one CPU and its dashboard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "1000")
        with RayHead(cpus=1, dashboard=True, options="--object-store-memory=100000000") as head:
            yield head


@pytest.fixture(scope="module")
def jobs(head: RayHead, tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """Its job server, with a copy of the project as the working folder."""
    clone = write_clone(tmp_path_factory.mktemp("clone") / "project")
    return Jobs(head, f"http://127.0.0.1:{head.dashboard_port}", clone)


def record_in(runs: Path) -> pd.DataFrame:
    (path,) = (runs / "records").glob("*.parquet")
    return pd.read_parquet(path)


def test_a_run_in_the_environment_of_the_head(jobs: Jobs, toy_root: Path, tmp_path: Path) -> None:
    ended = jobs.submit(str(BIN / "sharedris"), *train_arguments(toy_root, tmp_path), "--epochs", "1")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "record: " in ended.stdout
    assert record_in(tmp_path)["samples"].gt(0).all()


def test_runs_in_the_package_are_refused_in_one_line(jobs: Jobs, toy_root: Path) -> None:
    ended = jobs.submit_with_code(str(BIN / "sharedris"), *train_arguments(toy_root, Path("runs")))
    assert ended.returncode != 0
    # Ray shows the line twice: as the job's output, and as the reason of its end.
    assert "--runs runs is inside the job's package" in ended.stdout, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout
    made = jobs.submit_with_code("make", "sweep-framework")
    assert made.returncode != 0
    assert "RUNS=runs is inside the job's package, which Ray deletes" in made.stdout
    assert "making .venv" not in made.stdout


def test_make_in_a_working_folder_builds_no_environment_and_carries_the_commit(
    jobs: Jobs, toy_root: Path, tmp_path: Path
) -> None:
    (toy_root / "toyplus_unc" / "dataset.json").touch()  # newer than nothing: make prepares no other set
    settings = [f"RUNS={tmp_path}", f"PREPARED={toy_root}", "EPOCHS=1", f"OPTIONS=--device cpu {SMALL}"]
    ended = jobs.submit_with_code("make", "sweep-framework", *settings)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "making .venv" not in ended.stdout
    records = [pd.read_parquet(path) for path in (tmp_path / "records").glob("*.parquet")]
    assert len(records) == 2
    assert {commit for record in records for commit in record["git_commit"]} == {COMMIT}
    assert (tmp_path / "report").is_dir()


def test_a_job_that_is_stopped_goes_on_when_it_is_submitted_again(jobs: Jobs, toy_root: Path, tmp_path: Path) -> None:
    words = [str(BIN / "sharedris"), *train_arguments(toy_root, tmp_path), "--epochs", "40"]
    started = jobs.submit_with_code(*words, options=("--no-wait", "--submission-id=stopped"))
    assert started.returncode == 0, started.stdout + started.stderr
    deadline = time.monotonic() + 240
    while len(list(tmp_path.glob("state/*/checkpoint-*.json"))) < 2:
        assert time.monotonic() < deadline, jobs.command("logs", "stopped").stdout
        time.sleep(0.1)
    stopped = jobs.command("stop", "stopped")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "was stopped" in jobs.command("status", "stopped").stdout
    assert not list((tmp_path / "records").glob("*"))
    ended = jobs.submit_with_code(*words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "resumed after epoch" in ended.stdout
    (history,) = (tmp_path / "history").glob("*.parquet")
    assert pd.read_parquet(history)["epoch"].tolist() == list(range(1, 41))
    assert not list(tmp_path.glob("state/*/driver.json"))


def page(address: str) -> str:
    """What an address of the head answers to a holder of the token; nothing where it does not answer yet."""
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())
    except OSError as error:
        return f"no answer: {error}"


def test_a_run_is_seen_in_prometheus_and_in_the_dashboard(
    head: RayHead, jobs: Jobs, toy_root: Path, tmp_path: Path
) -> None:
    words = [str(BIN / "sharedris"), *train_arguments(toy_root, tmp_path), "--epochs", "300"]
    assert jobs.submit_with_code(*words, options=("--no-wait", "--submission-id=seen")).returncode == 0
    deadline, metrics, runs = time.monotonic() + 240, "", ""
    while "ray_sharedris_data_wait_ratio{" not in metrics or '"status":"RUNNING"' not in runs.replace(" ", ""):
        assert time.monotonic() < deadline, metrics[-3000:] + runs + jobs.command("logs", "seen").stdout
        metrics = page(f"http://127.0.0.1:{head.metrics_port}/metrics")
        runs = page(f"{jobs.address}/api/train/v2/runs/v1")
        time.sleep(1)
    assert jobs.command("stop", "seen").returncode == 0
    (state,) = (tmp_path / "state").glob("*")
    named = [line for line in metrics.splitlines() if f'run="{state.name}"' in line]
    for name in set(GAUGES) - {"sharedris_mfu"}:  # unknown in the first epoch
        (line,) = [line for line in named if line.startswith(f"ray_{name}{{")]
        assert float(line.rpartition(" ")[2]) >= 0
    shown = json.loads(runs)["train_runs"]
    assert any(run["name"].startswith(state.name) for run in shown), "the page shows the run's own name"
