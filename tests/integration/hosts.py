"""Two hosts on one machine: network namespaces on a bridge, each with an address and a folder of its own.

A host's processes share the machine's files, as nodes share a mounted folder, but for `private`, where each host has
a file system of its own. With a job server the second host also has its own process ids and its own /tmp/ray: a driver
looks for its node among the processes that it sees, and takes the head where it sees both.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PORT = 6379
DASHBOARD_PORT = 8265
_BRIDGE = "risbr"
_RAY_FOLDER = "/tmp/ray"
_READY_SECONDS = 300.0
_COUNT_NODES = """
import ray
ray.init(log_to_driver=False, logging_level=40)
print("alive", sum(node["Alive"] for node in ray.nodes()))
"""


class Host:
    """One of them; `number` 1 is the head."""

    def __init__(self, number: int, private: Path) -> None:
        self.number, self.private = number, private
        self._started: list[subprocess.Popen[bytes]] = []
        self.name, self.address, self.plug = f"ris{number}", f"10.77.0.{number}", f"risp{number}"

    def create(self) -> None:
        """Make the namespace and plug it in."""
        commands = [
            f"ip netns add {self.name}",
            f"ip link add {self.plug} type veth peer name eth0 netns {self.name}",
            f"ip link set {self.plug} master {_BRIDGE} up",
            f"ip -n {self.name} address add {self.address}/24 dev eth0",
            f"ip -n {self.name} link set eth0 up",
            f"ip -n {self.name} link set lo up",
        ]
        for command in commands:
            shell(command)

    def plug_in(self, connected: bool) -> None:
        """Connect or cut the link; a cut is silent: the interface stays up and frames vanish."""
        shell(f"ip link set {self.plug} {f'master {_BRIDGE}' if connected else 'nomaster'}")

    def run(
        self, command: str, environment: dict[str, str], output: Path, *, apart: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a command on this host; `apart`, it sees no process and no file of Ray that it has not started."""
        inside = ["unshare", "--mount", "--propagation", "private"]
        mounts = [str(self.private)]
        if apart:
            Path(_RAY_FOLDER).mkdir(exist_ok=True)
            inside += ["--pid", "--fork", "--mount-proc"]
            mounts.append(_RAY_FOLDER)
        mount = " && ".join(f"mount -t tmpfs tmpfs {folder}" for folder in mounts)
        # Of `apart`, bash stays as process 1, which must reap the orphans of the others.
        inside += ["bash", "-c", f"{mount} && {command}; exit $?" if apart else f"{mount} && exec {command}"]
        with output.open("a") as stream:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *inside],
                env={**os.environ, **environment},
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def processes(self, of: str = "") -> list[int]:
        """Return the ids of this host's processes whose command line holds a text."""
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(word) for word in found.stdout.split() if of in _command_line(int(word))]

    def kill(self) -> None:
        """Kill all of this host's processes at once, as a power cut would."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for started in self._started:
            started.wait(30)
        self._started.clear()

    def remove(self) -> None:
        """Kill what runs there and remove the namespace."""
        self.kill()
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.plug], check=False, capture_output=True)


ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "for-tests-only-0123456789",
    "RAY_ADDRESS": f"10.77.0.1:{PORT}",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
    "SHAREDRIS_RESIZE_SECONDS": "10",
    "RAY_worker_niceness": "0",  # 15 by default: other work on this machine would take nearly all the time
    "OMP_NUM_THREADS": "1",
}


class TwoHosts:
    """A Ray cluster of two hosts, with one CPU each unless asked otherwise; with `jobs` the head has a job server."""

    def __init__(self, folder: Path, *, cpus: int = 1, jobs: bool = False) -> None:
        self.folder, self.private, self.cpus, self.jobs = folder, folder / "private", cpus, jobs
        self.private.mkdir()
        self.head, self.other = Host(1, self.private), Host(2, self.private)

    def __enter__(self) -> TwoHosts:
        self.clear()
        shell(f"ip link add {_BRIDGE} type bridge")
        shell(f"ip link set {_BRIDGE} up")
        for host in (self.head, self.other):
            host.create()
        try:
            self.start()
        except BaseException:
            self.clear()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove hosts and bridge, left by an earlier run too."""
        for host in (self.other, self.head):
            host.remove()
        subprocess.run(["ip", "link", "del", _BRIDGE], check=False, capture_output=True)

    def start(self) -> None:
        """Start Ray on both hosts."""
        self.start_node(self.head)
        self.wait_for_nodes(1)
        self.start_node(self.other)
        self.wait_for_nodes(2)

    @contextlib.contextmanager
    def give_back(self) -> Iterator[None]:
        """Bring the second host back when the block ends, whatever has happened to it."""
        try:
            yield
        finally:
            self.other.kill()
            self.other.plug_in(True)
            self.wait_for_nodes(1)  # until Ray has seen that it is gone, it is counted beside the new one
            self.start_node(self.other)
            self.wait_for_nodes(2)

    def start_node(self, host: Host) -> None:
        """Start Ray there and wait until it runs; the command stays, so that its files do.

        Raises:
            TimeoutError: with what it printed.
        """
        role = f"--address={self.head.address}:{PORT}"
        if host is self.head:
            server = f" --dashboard-host={host.address} --dashboard-port={DASHBOARD_PORT}" if self.jobs else ""
            role = f"--head --port={PORT} --include-dashboard={str(self.jobs).lower()}{server}"
        ray = Path(sys.executable).parent / "ray"
        itself = f"--node-ip-address={host.address} --num-cpus={self.cpus}"
        # Before other work of this machine: Ray gives up if its agent is not there in 15 s, or its node in 30 s.
        command = f"nice -n -5 {ray} start {role} {itself} --block --disable-usage-stats"
        environment = {name: value for name, value in ENVIRONMENT.items() if name != "RAY_ADDRESS"}
        log = self.folder / f"{host.name}.log"
        deadline, text = time.time() + _READY_SECONDS, ""
        while time.time() < deadline:
            printed = log.stat().st_size if log.exists() else 0
            started = host.run(command, environment, log, apart=self.jobs and host is self.other)
            while started.poll() is None and time.time() < deadline:
                if "Ray runtime started" in log.read_bytes()[printed:].decode():
                    return
                time.sleep(0.2)
            text = log.read_bytes()[printed:].decode()
            if "timed out during startup" not in text:
                break  # on a very busy machine Ray's limits are too short all the same: then once more
            host.kill()
        raise TimeoutError(text)

    def wait_for_nodes(self, count: int) -> None:
        """Wait until so many nodes are alive.

        Raises:
            TimeoutError: with the end of the nodes' output.
        """
        deadline = time.time() + _READY_SECONDS
        text = ""
        while time.time() < deadline:
            asked = self.run(sys.executable, "-c", _COUNT_NODES)
            text = asked.stdout + asked.stderr[-2000:]
            if f"alive {count}" in text:
                return
            time.sleep(1)
        logs = "".join(path.read_text()[-2000:] for path in self.folder.glob("ris*.log"))
        raise TimeoutError(f"{count} nodes are not alive: {text}\n{logs}")

    def run(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command on the head and return what it printed."""
        return subprocess.run(
            ["ip", "netns", "exec", self.head.name, *words],
            env={**os.environ, **ENVIRONMENT},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def command(self, arguments: list[str], output: Path) -> subprocess.Popen[bytes]:
        """Start `sharedris ARGUMENTS` on the head."""
        words = " ".join(f"'{word}'" for word in [sys.executable, "-m", "pipeline.cli.main", *arguments])
        return self.head.run(words, ENVIRONMENT, output)


def shell(command: str) -> None:
    """Run a command or raise."""
    subprocess.run(command.split(), check=True, capture_output=True)


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
