"""The gcs_server or the raylet of a private Ray is killed: one line, exit code 3, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import TOY
from tests.integration.test_sweep import environment

pytestmark = pytest.mark.slow


def ray_below(process: int) -> list[psutil.Process]:
    """Return the processes of Ray below a driver."""
    return [child for child in psutil.Process(process).children(recursive=True) if "ray" in " ".join(child.cmdline())]


@pytest.fixture(params=["sharedris train", "python -m sweeps"])
def driver(request: pytest.FixtureRequest, toy_root: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that trains under Ray and has written a checkpoint."""
    options = ["--prepared", str(toy_root), "--runs", str(tmp_path), "--data", TOY, "--epochs", "500"]
    programs = {
        "sharedris train": ["pipeline.cli.main", "train", "--ray"],
        "python -m sweeps": ["sweeps", "run", "fpn"],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *programs[request.param], *options],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.time() + 180
    while not list(tmp_path.glob("state/*/checkpoint-*.json")) and time.time() < deadline:
        assert process.poll() is None
        time.sleep(0.2)
    started = ray_below(process.pid)
    yield process
    for child in started:  # those of a dead raylet are no longer below the driver
        if child.is_running():
            child.kill()
    process.kill()
    process.wait()


@pytest.mark.parametrize("victim", ["gcs_server", "raylet"])
def test_a_dead_server_of_ray_is_one_line(victim: str, driver: subprocess.Popen[str], tmp_path: Path) -> None:
    (server,) = (child for child in psutil.Process(driver.pid).children() if child.name() == victim)
    os.kill(server.pid, signal.SIGKILL)
    began = time.time()
    _, said = driver.communicate(timeout=60)
    assert time.time() - began < 30
    assert driver.returncode == 3, said
    lines = [line for line in said.splitlines() if "Ray has died" in line]
    assert len(lines) == 1, said
    assert "the same command goes on from the last checkpoint" in lines[0]
    assert "Traceback" not in said
