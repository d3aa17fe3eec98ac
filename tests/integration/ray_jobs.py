"""`ray job` commands against a head with a job server, and a copy of the project's files as their working folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from pipeline.provenance import COMMIT_VARIABLE

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL = "--global-batch-size 6 --train.max-samples-per-epoch=24 --model.encoder.image-size=64"


class Head(Protocol):
    """What runs a command where the job server is reached."""

    def run(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command and return what it printed."""


class Jobs:
    """`ray job` commands of one head.

    Args:
        head: with a dashboard.
        address: of the dashboard, as http://HOST:PORT.
        clone: the project's files without .git, as a working folder; see `write_clone`.
    """

    def __init__(self, head: Head, address: str, clone: Path) -> None:
        self.head, self.address, self.clone = head, address, clone

    def command(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `ray job VERB`."""
        return self.head.run(str(BIN / "ray"), "job", verb, f"--address={self.address}", *words, cwd=self.clone)

    def submit(self, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command in the head's environment, and wait for its end; the first job may wait for Ray's agent."""
        for _ in range(30):
            ended = self.command("submit", *options, "--", *words)
            if "No available agent to submit job" not in ended.stderr:
                break
            time.sleep(2)
        return ended

    def submit_with_code(self, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command in a copy of this folder."""
        environment = json.dumps({"env_vars": {COMMIT_VARIABLE: COMMIT}})
        return self.submit(*words, options=("--working-dir=.", f"--runtime-env-json={environment}", *options))


def write_clone(folder: Path) -> Path:
    """Write what a job of the project needs into a new folder, and return it."""
    for name in ("sharedris", "pipeline", "sweeps", "reports"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return folder
