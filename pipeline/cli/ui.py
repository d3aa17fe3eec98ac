"""`sharedris ui`: MLflow's own page over the runs, on this machine only."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.common_options import CommonOptions, RunsFolder
from sharedris.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Which runs, on which port."""

    runs: RunsFolder = Path("runs")
    """Root of the runs."""
    port: int = 5000
    """Port on 127.0.0.1."""


def run(options: Options) -> int:
    """Become MLflow's server; Ctrl-C ends it."""
    from pipeline.monitoring.mlflow_ui import opened_store

    if not 0 < options.port < 2**16:
        raise InputError(f"--port {options.port} is not a port", "Give 1024 .. 65535")
    # By the environment: every user of the machine sees a command line, and the address may hold a password.
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": opened_store(options.runs, f"http://127.0.0.1:{options.port}"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    sys.stdout.flush()
    os.execve(words[0], [*words, "--port", str(options.port)], environment)  # noqa: S606  # no shell
