"""The door to Ray: starts or joins a cluster, and computes how many runs it can hold.

Rows, checkpoints and records are this project's files (`pipeline.training.trainer`). Ray brings processes and process
groups, and nothing that it stores decides what is done. `pipeline.cluster.ray_patches` lists what is changed in Ray.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ray

import sharedris
from pipeline.cluster.network import require_ray_head
from pipeline.cluster.nodes import wants_gpu, workers_that_fit
from pipeline.cluster.private_ray import require_temporary_folder, set_token, started_cluster
from pipeline.cluster.ray_watch import RayLostError, watched_ray
from pipeline.config import ExecutionConfig
from sharedris.errors import InputError

log = logging.getLogger(__name__)

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # with Tune's handler `fit` returns after Ctrl-C as if all were done
}
_TRAIN_PAGE = "RAY_TRAIN_ENABLE_STATE_TRACKING"
"""Lists runs in the dashboard, by one more actor in the cluster; a private Ray has no dashboard."""
_PACKAGES = ("sharedris", "pipeline", "sweeps")
_joined: list[str] = []
"""The named cluster of the block that is open in this process."""


@contextlib.contextmanager
def ray_cluster(*, cpus: int | None = None) -> Iterator[None]:
    """Join the cluster that `RAY_ADDRESS` names, or start a private one on this machine while the block lasts.

    Within another such block it does nothing: a driver whose lock an actor holds has joined before.

    Raises:
        InputError: when the named cluster cannot be joined.
        RayLostError: when the private one dies.
    """
    set_environment()
    address = os.environ.get("RAY_ADDRESS")
    if address and address in _joined:
        yield
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        require_ray_head(address)
        os.environ.setdefault(_TRAIN_PAGE, "1")
        try:
            ray.init(address=address, runtime_env={"py_modules": code_of_workers()}, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"no Ray cluster at RAY_ADDRESS={address}: {str(error).splitlines()[0]}",
                "Check the address and RAY_AUTH_MODE (docs/cluster.md), or unset RAY_ADDRESS to run on this machine",
            ) from None
    else:
        _name_unused_cluster()
        require_temporary_folder()
        set_token()
        ray.init(address="local", num_cpus=cpus or os.cpu_count(), include_dashboard=False, **quiet)
    if address:
        _joined.append(address)
    try:
        with watched_ray():
            yield
    except RayLostError:
        raise  # a shutdown would wait for the dead Ray
    except BaseException:
        ray.shutdown()
        raise
    finally:
        _joined.clear()
    ray.shutdown()


def _name_unused_cluster() -> None:
    """Log that a cluster runs on this host which is not joined: the other nodes would be left idle in silence."""
    address = started_cluster()
    if address is None:
        return
    try:
        require_ray_head(address, timeout_seconds=0.5)
    except InputError:
        return  # it has ended: Ray leaves the file
    log.warning("a Ray cluster runs on this host (%s) and is not used; RAY_ADDRESS=auto joins it", address)


def code_of_workers() -> list[str]:
    """Return the package folders that Ray ships to every node."""
    root = Path(sharedris.__file__).resolve().parent.parent
    return [str(root / package) for package in _PACKAGES]


def set_environment() -> None:
    """Set the variables that Ray reads, unless the user has set them."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How many trials a cluster runs at once, with the arithmetic in words."""

    trials: int
    arithmetic: str


def capacity(execution: ExecutionConfig) -> Capacity:
    """Return how many runs with this execution the nodes that are up can hold at once.

    Raises:
        InputError: when it cannot hold one; the message shows the arithmetic.
    """
    resource = "GPU" if wants_gpu(execution) else "CPU"
    held = workers_that_fit(execution)
    trials = int(held // (execution.min_workers or execution.workers))
    arithmetic = f"{held} {resource} / {execution.min_workers or execution.workers} per run = {trials} at once"
    if trials == 0:
        raise InputError(
            f"the cluster cannot hold a run of {execution.workers} workers: {arithmetic}",
            _remedy(execution, held),
        )
    return Capacity(trials=trials, arithmetic=arithmetic)


def _remedy(execution: ExecutionConfig, held: int) -> str:
    fewer = f"Set WORKERS (--workers) to {held} or less, or " if held else ""
    if "RAY_ADDRESS" not in os.environ:
        return f"{fewer or 'Choose --device cpu, or '}join a larger cluster with RAY_ADDRESS"
    device = "" if held or execution.device == "cpu" else ", or train on CPUs: --device cpu"
    return f"{fewer}wait for nodes that start later: --wait-for-resources MINUTES{device}"
