"""A command that is given again whenever it ends before its work is done, as a user or a scheduler does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil


class Command:
    """The command, its processes, and the exit codes so far.

    Args:
        words: of the command.
        environment: of all its processes.
        folder: for its output and Ray's files; a short name, since Ray's sockets are below it.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.words, self.folder, self.exit_codes = list(words), folder, list[int]()
        own = {"RAY_TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        self.environment = {**environment, **own}
        self.extra: dict[str, str] = {}  # of the next start only
        self.starts, self.started, self.has_rpc_faults = 0, 0.0, False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        """All that was printed."""
        path = self.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process of the driver."""
        assert self._process is not None
        return self._process

    def is_alive(self) -> bool:
        """Whether the driver works."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Give the command, or give it again: at once, while orphans of a dead driver may still work."""
        if self._process is not None:
            self.exit_codes.append(self.process.wait())
        self.starts, self.started = self.starts + 1, time.monotonic()
        with (self.folder / "output").open("ab") as stream:
            self._process = subprocess.Popen(
                self.words,
                env={**self.environment, **self.extra},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.has_rpc_faults, self.extra = bool(self.extra), {}

    def children(self, name: str) -> list[psutil.Process]:
        """Return the driver's processes of this name: `raylet`, or the start of a title as `ray::RayTrainWorker`."""
        found = []
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    title = " ".join(process.cmdline()[:1])
                    if process.name() == name or title.startswith(name):
                        found.append(process)
        return found

    def cpu_seconds(self) -> float:
        """Return the CPU time of the driver and of its processes so far."""
        used = 0.0
        with contextlib.suppress(psutil.Error):
            driver = psutil.Process(self.process.pid)
            for process in (driver, *driver.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    used += sum(process.cpu_times()[:4])
        return used

    def clear(self) -> None:
        """Kill processes of Ray that were started below this command's folder."""
        for process in psutil.process_iter(["environ"]):
            environment = process.info["environ"] or {}
            if environment.get("RAY_TMPDIR") == str(self.folder) and process.pid != os.getpid():
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """Kill the command and all that it has started."""
        if self.is_alive():
            self.process.kill()
        if self._process is not None:
            self._process.wait()
        self.clear()
