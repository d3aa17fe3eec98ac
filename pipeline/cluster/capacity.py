"""How many workers this machine can run, checked before Ray is started."""

from __future__ import annotations

import os

from pipeline.config import ExecutionConfig
from sharedris.errors import InputError


def check_workers_fit(execution: ExecutionConfig) -> None:
    """Refuse more CPU workers than this machine has cores, unless RAY_ADDRESS names a cluster.

    Raises:
        InputError: with the remedy.
    """
    cores = os.cpu_count() or 1
    if "RAY_ADDRESS" not in os.environ and execution.device != "cuda" and execution.workers > cores:
        raise InputError(
            f"{execution.workers} workers on a machine with {cores} cores",
            f"Set WORKERS (--workers) to {cores} or less, or name a cluster with RAY_ADDRESS",
        )
