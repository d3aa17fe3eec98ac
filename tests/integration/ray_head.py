"""A Ray head of its own on this machine, as `ray start --head` makes one: own port and folder, ended with its children.

`ray stop` is not used: it would end every Ray of this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from pipeline.cluster.network import require_ray_head

_READY_SECONDS = 300.0
TOKEN = "for-tests-only-0123456789"


def free_port() -> int:
    """Return a port of the loopback that nothing listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class RayHead:
    """A head on 127.0.0.1; `node_types` makes it autoscale by processes of this machine (Ray's fake provider)."""

    def __init__(
        self, *, cpus: int, dashboard: bool = False, node_types: Mapping[str, Any] | None = None, options: str = ""
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ris"))  # short: sockets have paths of 107 bytes at most
        self.port, self.dashboard_port, self.metrics_port = free_port(), free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        words = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
        words += [f"--port={self.port}", "--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", "--num-gpus=0"]
        words += [f"--temp-dir={self.folder}", f"--include-dashboard={str(dashboard).lower()}", *options.split()]
        words += [f"--dashboard-port={self.dashboard_port}", f"--metrics-export-port={self.metrics_port}"]
        if node_types is not None:
            words.append(f"--autoscaling-config={self._configuration(node_types, cpus)}")
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a command of this cluster has in its environment."""
        own = {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
        own["RAY_worker_niceness"] = "0"  # 15 by default: other work on this machine would take nearly all the time
        return {**os.environ, **own, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    @property
    def log(self) -> Path:
        """Where the head prints."""
        return self.folder / "head.log"

    def __enter__(self) -> RayHead:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            self._start()
            while self._process is not None and self._process.poll() is None:
                if "Ray runtime started" in self.log.read_text():
                    require_ray_head(self.address)
                    return self
                time.sleep(0.5)
            if "timed out during startup" not in self.log.read_text():
                break  # on a busy machine Ray's own limit of 30 s is too short: then once more
        text = self.log.read_text()
        self.end()
        raise TimeoutError(text)

    def _start(self) -> None:
        fake = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        with self.log.open("wb") as stream:
            self._process = subprocess.Popen(
                self._words,
                env={**environment, **fake},
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Kill what the head has started: all of it names the folder or the address, or has the head as ancestor."""
        assert self._process is not None
        ours = []
        for process in psutil.process_iter(["cmdline", "pid"]):
            text = " ".join(process.info["cmdline"] or [])
            if str(self.folder) in text or f"127.0.0.1:{self.port}" in text:
                ours.append(process)
        with contextlib.suppress(psutil.NoSuchProcess):
            ours += psutil.Process(self._process.pid).children(recursive=True)
        for process in {process for process in ours if process.pid != os.getpid()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self._process.kill()
        self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command with this cluster's address and return what it printed."""
        return subprocess.run(
            words,
            env={**self.environment, **environment},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def _configuration(self, node_types: Mapping[str, Any], cpus: int) -> Path:
        """Write the autoscaler's file; nodes that are not used end after some seconds."""
        head = {"resources": {"CPU": cpus}, "node_config": {}, "max_workers": 0}
        path = self.folder / "autoscaler.json"
        values = {
            "cluster_name": "fake",
            "max_workers": 8,
            "idle_timeout_minutes": 5,
            "provider": {
                "type": "fake_multinode",
                "gcs_address": self.address,
                "use_node_id_as_ip": True,  # all nodes have the address of this machine
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "available_node_types": {"ray.head.default": head, **node_types},
            "head_node_type": "ray.head.default",
            "auth": {},
            "upscaling_speed": 1.0,
            "file_mounts": {},
            "cluster_synced_files": [],
            "setup_commands": [],
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "initialization_commands": [],
            "head_start_ray_commands": [],
            "worker_start_ray_commands": [],
        }
        path.write_text(json.dumps(values))
        return path
