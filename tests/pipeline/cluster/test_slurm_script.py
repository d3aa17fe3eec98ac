"""`docs/slurm.sbatch` under stand-ins of Slurm's and Ray's commands: options, environment, exit code, time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docs/slurm.sbatch"
SRUN = """#!/bin/bash
echo "srun $*" >> "$LOG"
exec "$@"
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then printf 'node7\\nnode8\\n'; else echo "scontrol $*" >> "$LOG"; fi
"""
RAY = """#!/bin/bash
echo "token ${#RAY_AUTH_TOKEN} $RAY_AUTH_MODE" >> "$LOG"
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
COMMAND = """#!/bin/bash
echo "sharedris $* at $RAY_ADDRESS" >> "$LOG"
case "$*" in *save) touch "$SAVED" ;; esac
if [ "$1" = train ]; then while [ -n "$WAITS" ] && [ ! -e "$SAVED" ]; do sleep 0.02; done; exit 7; fi
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job on two nodes, whose commands write to a log."""
    for folder, name, text in (
        ("slurm", "srun", SRUN),
        ("slurm", "scontrol", SCONTROL),
        ("venv/bin", "ray", RAY),
        ("venv/bin", "sharedris", COMMAND),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(text)
        (tmp_path / folder / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'slurm'}:{os.environ['PATH']}",
        "VENV": str(tmp_path / "venv"),
        "LOG": str(tmp_path / "log"),
        "SAVED": str(tmp_path / "saved"),
        "RUNS": "/shared/runs",
        "WAITS": "",
        "SAVE_SECONDS": "0",
        "SLURM_JOB_ID": "41",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "32",
        "SLURM_GPUS_ON_NODE": "4",
    }


def test_the_command_joins_the_cluster_of_all_nodes(slurm: dict[str, str]) -> None:
    ended = subprocess.run(["bash", SCRIPT, "sharedris", "train", "--workers", "8"], env=slurm, check=False)
    assert ended.returncode == 7, "the exit code is that of the command"
    text = Path(slurm["LOG"]).read_text()
    assert "srun ray symmetric-run --address node7:20041 --min-nodes 2 --num-cpus 32 --num-gpus 4" in text
    assert "sharedris train --workers 8 at node7:20041" in text
    assert "token 64 token" in text
    assert "scontrol" not in text


def test_before_the_time_limit_a_checkpoint_is_saved_and_the_job_is_queued_again(slurm: dict[str, str]) -> None:
    job = subprocess.Popen(["bash", SCRIPT, "sharedris", "train"], env={**slurm, "WAITS": "yes"}, text=True)
    deadline = time.monotonic() + 30
    while not Path(slurm["LOG"]).exists() or "sharedris train" not in Path(slurm["LOG"]).read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(30) == 7
    text = Path(slurm["LOG"]).read_text()
    assert "sharedris runs --runs /shared/runs save" in text
    assert "scontrol requeue 41" in text


@pytest.mark.parametrize(("missing", "words"), [("RUNS", ["true"]), ("", [])])
def test_what_is_missing_is_named(missing: str, words: list[str], slurm: dict[str, str]) -> None:
    slurm.pop(missing, None)
    ended = subprocess.run(["bash", SCRIPT, *words], env=slurm, check=False, capture_output=True, text=True)
    assert ended.returncode != 0
    assert ("set RUNS" in ended.stderr) if missing else ("name a command" in ended.stderr)
    assert not Path(slurm["LOG"]).exists()
