"""The driver of a run under Ray is killed or told to stop: the same command goes on to the same bits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration import workers
from tests.integration.test_resume import mlflow_epochs, train_arguments

pytestmark = pytest.mark.slow


def command(toy_root: Path, runs: Path) -> list[str]:
    """A run of two workers under a private Ray."""
    return [*train_arguments(toy_root, runs), "--workers", "2", "--epochs", "40", "--experiment", "driver"]


@pytest.fixture(scope="module")
def undisturbed(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = workers.start_command(command(toy_root, folder / "runs"), folder / "output")
    assert workers.finish([process], 600) == [0], (folder / "output").read_text()
    return workers.outcome_below(folder / "runs")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["SIGKILL", "Ctrl-C", "SIGTERM"],
)
def test_the_same_command_goes_on_to_the_same_bits(
    number: int, code: int, undisturbed: dict[str, Any], toy_root: Path, tmp_path: Path
) -> None:
    runs, output = tmp_path / "runs", tmp_path / "output"
    first = workers.start_command(command(toy_root, runs), output)
    deadline = time.time() + 120
    while len(list(runs.glob("state/*/checkpoint-*.json"))) < 2 and time.time() < deadline and first.is_alive():
        time.sleep(0.02)
    assert first.is_alive(), output.read_text()
    os.kill(first.pid, number)  # type: ignore[arg-type]
    assert workers.finish([first]) == [code], output.read_text()
    # At once: orphans of a killed driver may still be writing.
    assert workers.finish([workers.start_command(command(toy_root, runs), output)], 600) == [0], output.read_text()
    got = workers.outcome_below(runs)
    for part in ("history", "weights", "samples", "record"):
        assert got[part] == undisturbed[part], part
    assert [row["epoch"] for row in got["history"]] == list(range(1, 41))
    assert "resumed after epoch" in output.read_text()  # said by a worker, whose output Ray keeps to itself
    assert mlflow_epochs(runs, "driver") == [list(range(1, 41))]
    assert not list((runs / "ray").glob("*"))
    print(f"\n{signal.Signals(number).name}: exit {code}, then the same weights, history, rows and record")


def test_a_node_without_memory_is_told_in_one_line(toy_root: Path, tmp_path: Path) -> None:
    # Ray's own monitor, told that a hundredth of the memory is too much, ends each worker.
    scarce = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    arguments = [*train_arguments(toy_root, tmp_path / "runs"), "--ray"]
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *arguments],
        env={**os.environ, **scarce},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 3, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert re.search(
        r"failed: a node ran out of memory \([\d.]+GB used / [\d.]+GB limit\) and Ray ended a worker", line
    )
    assert "set --micro-batch-size or --loader-workers lower" in line
