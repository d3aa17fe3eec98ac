"""The door to Ray: starts or joins a cluster, and runs one job as a Ray Train TorchTrainer (DDP).

Rows, checkpoints and records are our own files (`pipeline.training.trainer`); Ray brings processes, process groups
and the restart of lost workers, and nothing that it keeps decides what is done. What we change of Ray's internals is in
`pipeline.cluster.ray_patches`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ray

from pipeline.cluster.network import refuse_silent_address
from pipeline.config import ExecutionConfig
from sharedris.errors import InputError

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's makes `fit` return as if all were done; Python's raises out of it
}
_PACKAGES = ("sharedris", "pipeline", "sweeps")


@contextlib.contextmanager
def ray_cluster(*, cpus: int | None = None) -> Iterator[None]:
    """Join the cluster that `RAY_ADDRESS` names, or start a private one on this machine for the time of the block.

    Raises:
        InputError: when the named cluster cannot be joined.
    """
    set_environment()
    address = os.environ.get("RAY_ADDRESS")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        code = Path(__file__).resolve().parent.parent
        modules = [str(code / package) for package in _PACKAGES]
        refuse_silent_address(address)
        try:
            ray.init(address=address, runtime_env={"py_modules": modules}, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"no Ray cluster at RAY_ADDRESS={address}: {str(error).splitlines()[0]}",
                "Check the address and RAY_AUTH_MODE (docs/cluster.md), or unset RAY_ADDRESS to run on this machine",
            ) from None
    else:
        ray.init(address="local", num_cpus=cpus or os.cpu_count(), include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def set_environment() -> None:
    """Set what Ray reads from the environment, where the user has not."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def wants_gpu(execution: ExecutionConfig) -> bool:
    """Return whether the run's workers ask Ray for a GPU each."""
    if execution.device == "auto":
        return ray.cluster_resources().get("GPU", 0) >= 1
    return execution.device == "cuda"


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a cluster holds, counted in trials of one kind."""

    trials: int
    arithmetic: str


def capacity(execution: ExecutionConfig) -> Capacity:
    """Return how many runs of this execution the cluster holds at once.

    Raises:
        InputError: when it does not hold one; the message shows the arithmetic.
    """
    resource = "GPU" if wants_gpu(execution) else "CPU"
    held = ray.cluster_resources().get(resource, 0)
    trials = int(held // (execution.min_workers or execution.workers))
    arithmetic = f"{held:g} {resource} / {execution.min_workers or execution.workers} per run = {trials} at once"
    if trials == 0:
        raise InputError(
            f"the cluster holds no run of {execution.workers} workers: {arithmetic}",
            f"Set WORKERS (--workers) to {int(held)} or less, or join a larger cluster with RAY_ADDRESS",
        )
    return Capacity(trials=trials, arithmetic=arithmetic)
