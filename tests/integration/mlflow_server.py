"""A real MLflow server for tests, started as `make ui` starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def mlflow_server(store: str, log: Path, *options: str) -> Iterator[str]:
    """Serve a store on a free port for the block; yield its address.

    Args:
        store: address of the store.
        log: file that gets what the server prints.
        options: more of `mlflow server`.
    """
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, *options], env=quiet, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.time() + 120
            while not answers(url):
                assert process.poll() is None, log.read_text()
                assert time.time() < deadline, log.read_text()
                time.sleep(0.3)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def answers(url: str) -> bool:
    """Whether the server is up."""
    try:
        urllib.request.urlopen(f"{url}/health", timeout=2).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
