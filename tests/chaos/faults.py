"""How each kind of fault strikes, and what has to be undone when it has struck."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.command import Command
from tests.chaos.schedule import Fault
from tests.integration.object_server import Faults as ServerFaults

WORKER = "ray::RayTrainWorker"
STOPPED_SECONDS, AWAY_SECONDS, BUSY_SECONDS = (1.0, 6.0), (5.0, 20.0), (4.0, 10.0)
_SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGSEGV": signal.SIGSEGV, "SIGTERM": signal.SIGTERM}
RESTARTS_DRIVER = ("driver", "gcs_server", "raylet", "disk", "RPC")
RESTARTS_WORKERS = ("worker SIGKILL", "worker SIGSEGV", "collective")


class NotStruckError(Exception):
    """What was to be struck is not there now: it starts, or it has ended."""


@dataclass(kw_only=True)
class Scene:
    """What faults strike.

    Attributes:
        command: the driver and its processes.
        folder: where `injected/sitecustomize.py` looks for what to do.
        full_disk: a small file system that holds the runs, or None.
        server: the faults of the proxy in front of the object store, or None.
        step: returns the step of the run.
    """

    command: Command
    folder: Path
    step: Callable[[], int]
    full_disk: Path | None = None
    server: ServerFaults | None = None
    rpc_percent: list[int] = field(default_factory=list)
    """Of each start with RPC faults."""

    def strike(self, fault: Fault) -> frozenset[int]:
        """Let a fault strike, undo what has to be undone, and return the worker that it ends; empty for all of them.

        Raises:
            NotStruckError: where there is nothing to strike.
        """
        rng = random.Random(fault.seed)
        subject, _, what = fault.kind.partition(" ")
        if fault.kind == "worker SIGSTOP":
            self._stop_a_worker(rng)
        elif subject == "worker":
            worker = rng.choice(self._workers())
            worker.send_signal(_SIGNALS[what])
            return frozenset({worker.pid})
        elif subject == "driver":
            self.command.process.send_signal(_SIGNALS[what])
        elif subject in ("gcs_server", "raylet"):
            (server,) = self.command.children(subject)
            server.send_signal(_SIGNALS[what])
        elif subject == "collective":
            self._abort_a_collective(rng)
        elif subject == "clock":
            set_clock(self.folder, rng.choice([-3600, -60, 60, 3600, 86400]))
        elif subject == "disk":
            self._fill_the_disk()
        elif subject == "RPC":
            self._start_with_rpc_faults(rng)
        elif subject == "S3":
            self._disturb_the_store(what, rng)
        else:
            raise ValueError(fault.kind)
        return frozenset()

    def _workers(self) -> list[psutil.Process]:
        workers = self.command.children(WORKER)
        if not workers:
            raise NotStruckError
        return workers

    def _stop_a_worker(self, rng: random.Random) -> None:
        worker = rng.choice(self._workers())
        worker.send_signal(signal.SIGSTOP)
        time.sleep(rng.uniform(*STOPPED_SECONDS))
        with contextlib.suppress(psutil.Error):
            worker.send_signal(signal.SIGCONT)

    def _abort_a_collective(self, rng: random.Random) -> None:
        path = self.folder / "abort-at"
        path.write_text(f"{rng.randrange(2)} {self.step() + 2}")
        deadline = time.monotonic() + 60
        while path.exists():
            if time.monotonic() > deadline or not self.command.is_alive():
                path.unlink(missing_ok=True)
                raise NotStruckError
            time.sleep(0.02)

    def _fill_the_disk(self) -> None:
        """Leave no byte until the command has ended."""
        assert self.full_disk is not None
        ballast, deadline = self.full_disk / "ballast", time.monotonic() + 120
        try:
            with ballast.open("ab", buffering=0) as stream:
                while self.command.is_alive():
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"the command goes on without space: {self.command.output[-3000:]}")
                    try:
                        stream.write(b"\0" * 2**20)
                    except OSError:  # full; a checkpoint that is removed makes room again
                        time.sleep(0.05)
        finally:
            ballast.unlink(missing_ok=True)

    def _start_with_rpc_faults(self, rng: random.Random) -> None:
        """End the driver and start it with a share of all calls between Ray's processes failing."""
        percent = rng.randint(1, 5)
        self.rpc_percent.append(percent)
        self.command.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.command.process.wait(60)
        self.command.process.kill()
        self.command.process.wait()
        self.command.extra = rpc_faults(percent)
        self.command.start()

    def _disturb_the_store(self, what: str, rng: random.Random) -> None:
        assert self.server is not None
        if what == "away":
            self.server.away = True
            time.sleep(rng.uniform(*AWAY_SECONDS))
            self.server.away = False
        else:
            self.server.share_of_503 = rng.uniform(0.2, 0.6)
            time.sleep(rng.uniform(*BUSY_SECONDS))
            self.server.share_of_503 = 0.0


def rpc_faults(percent: int) -> dict[str, str]:
    """Return the variables with which this share of Ray's calls fails: half as the request, half as the answer."""
    asked, answered = percent - percent // 2, percent // 2
    share = {"num_failures": -1, "req_failure_prob": asked, "resp_failure_prob": answered, "in_flight_failure_prob": 0}
    return {"RAY_testing_rpc_failure": json.dumps({"*": share})}


def set_clock(folder: Path, seconds: int) -> None:
    """Let the clock of the command's Python processes differ from this machine's by so many seconds."""
    partial = folder / "clock.partial"
    partial.write_text(f"{seconds}\n")
    partial.replace(folder / "clock")


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path | None]:
    """Mount a file system of this size; None where this user may not."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    may = os.geteuid() == 0 and shutil.which("mount") is not None
    if not may or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)
