"""The door to Ray: starts or joins a cluster, and runs one job as a Ray Train TorchTrainer (DDP).

Rows, checkpoints and records are our own files (`pipeline.trainer`); Ray brings processes, process groups and the
restart of lost workers, and nothing that it keeps decides what is done. What we change of Ray's internals is in
`pipeline.ray_internals`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import get_device
from ray.train.v2.api.config import LoggingConfig
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.config import ExecutionConfig
from pipeline.distributed import COLLECTIVE_TIMEOUT_SECONDS, Worker
from pipeline.failures import RunError, describe_lost_workers, failure, write_failure
from pipeline.job import Job
from pipeline.lease import leader_lock
from pipeline.network import refuse_silent_address
from pipeline.ray_internals import NodeTorchConfig, PlacementGroupNote, RunTrainer
from pipeline.records import record_path
from pipeline.run import run_job
from pipeline.said import SaidFile
from sharedris.errors import InputError

RESTARTS = 3
"""How often lost workers are replaced without a new checkpoint before a run counts as failed."""

NODE_ANSWERS_SECONDS = 120
"""How long a node may take to start a process and look at its files."""

FILE_ARRIVES_SECONDS = 90.0
"""How long a file of another node may stay unseen: NFS keeps for a minute that there was none."""

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a run that has ended is seen by it; Ray's 2 s are paid by every cell
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # One more process a worker group, to restart it just before a node is taken away; ours restart when it has gone.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
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
    _set_environment()
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


def _set_environment() -> None:
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


def fit(job: Job) -> None:
    """Run one job with Ray Train in the cluster that `ray_cluster` holds, to its record.

    Raises:
        RunError: with the cause in one line.
    """
    _set_environment()  # a trial on another node has not the driver's
    storage = job.runs_root / "ray"
    for orphan in storage.glob(f"{job.run_id}-*"):  # of drivers that were killed; we hold their lease
        shutil.rmtree(orphan, ignore_errors=True)
    execution = job.execution
    elastic = execution.min_workers is not None and execution.min_workers < execution.workers
    # A new name each time: Ray continues whatever it finds under an old one, whatever has changed since.
    name = f"{job.run_id}-{uuid.uuid4().hex[:6]}"
    sign = job.state_folder / f"sign-{name}"
    job.state_folder.mkdir(parents=True, exist_ok=True)
    for old in job.state_folder.glob("sign-*"):
        old.unlink(missing_ok=True)
    sign.touch()
    trainer = RunTrainer(
        worker_loop,
        train_loop_config={"job": job, "sign": sign},
        torch_config=NodeTorchConfig(timeout_s=COLLECTIVE_TIMEOUT_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=(execution.min_workers, execution.workers) if elastic else execution.workers,
            use_gpu=wants_gpu(execution),
            resources_per_worker=None if wants_gpu(execution) else {"CPU": 1},
            elastic_resize_monitor_interval_s=float(os.environ.get("SHAREDRIS_RESIZE_SECONDS", "60")),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=RESTARTS),
            callbacks=[PlacementGroupNote(str(job.state_folder))],
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        if failure(job) is None:
            write_failure(job, describe_lost_workers(error, job), str(error))
        raise RunError(failure(job) or describe_lost_workers(error, job)) from error
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)
        sign.unlink(missing_ok=True)
    if not _arrives(record_path(job.runs_root, job.run_id)):
        raise RunError(f"{job.run_id} ended without a record")


def _arrives(path: Path) -> bool:
    """Return whether a file that another node has written is seen here, sooner or later."""
    deadline = time.monotonic() + FILE_ARRIVES_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def worker_loop(config: dict[str, Any]) -> None:
    """Run the job as one worker of a Ray Train worker group."""
    context = ray.train.get_context()
    rank = context.get_world_rank()
    worker = Worker(rank=rank, world=context.get_world_size(), device=get_device())
    job: Job = config["job"]
    refuse_blind_node(job, config["sign"])
    if worker.device.type == "cpu":
        # One CPU is what this worker holds; more threads would only fight its neighbours.
        torch.set_num_threads(1)
    with leader_lock(job.state_folder) if worker.leads else contextlib.nullcontext():
        run_job(job, worker, SaidFile(job.state_folder).say)


def refuse_blind_node(job: Job, sign: Path) -> None:
    """Refuse to work where the driver's sign is not seen: on a node that came back without its mount, or before it.

    Raises:
        FileNotFoundError: and no RunError, since such a node is like one that is away.
    """
    if not _arrives(sign):
        node = ray.util.get_node_ip_address()
        raise FileNotFoundError(f"{node} does not see {job.state_folder}, in which the driver has left a sign")


def check_shared_storage(root: Path, reads: Sequence[str]) -> None:
    """Prove that every node reads what the driver writes below `root` and the other way, before hours are spent.

    Args:
        root: of the runs.
        reads: what workers only read (prepared sets, weights); on every node, shared or a copy. URIs are left out.

    Raises:
        InputError: naming the nodes that do not, and those that do not answer.
    """
    root.mkdir(parents=True, exist_ok=True)
    nodes = _alive().values()
    if len(nodes) < 2:
        return
    nonce = uuid.uuid4().hex
    path = root / f".nonce-{nonce[:8]}"
    path.write_text(nonce)
    answer = ray.remote(num_cpus=0)(_answer_nonce)
    local = [name for name in reads if "://" not in name]
    blind = {}
    try:
        for node in nodes:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            asked = answer.options(scheduling_strategy=here).remote(str(path), nonce, node["NodeID"], local)
            reply = path.with_name(f"{path.name}-{node['NodeID']}")
            try:
                problem = ray.get(asked, timeout=NODE_ANSWERS_SECONDS)
                if problem is None and not reply.exists():
                    problem = "what it writes there does not arrive here"
            except (RayError, TimeoutError) as error:
                # A node that died a while ago may be listed until Ray has noticed it.
                problem = f"does not answer ({type(error).__name__})" if node["NodeID"] in _alive() else None
            reply.unlink(missing_ok=True)
            if problem is not None:
                blind[name] = problem
    finally:
        path.unlink(missing_ok=True)
    if blind:
        raise InputError(
            "not every node sees the same files: " + "; ".join(f"{name}: {text}" for name, text in blind.items()),
            f"Keep runs ({root}) where all nodes mount and may write, with RUNS= (--runs), and prepared sets and "
            "weights at the same path on each; see docs/cluster.md",
        )


def _alive() -> dict[str, dict[str, Any]]:
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _answer_nonce(path: str, nonce: str, node: str, reads: Sequence[str]) -> str | None:
    """Read the driver's nonce and write one back; return what went wrong, or None. Runs on each node."""
    for name in reads:
        if not Path(name).exists():
            return f"has no {name}"
    try:
        if Path(path).read_text() != nonce:
            return "reads another file there"
        Path(f"{path}-{node}").write_text(nonce)
    except OSError as error:
        return f"{error.strerror}: {path}"
    return None


def free_placement_group(state_folder: Path) -> bool:
    """Free the placement group that a dead controller left; return whether there was one."""
    path = state_folder / "placement_group"
    try:
        identity = path.read_text()
    except FileNotFoundError:
        return False
    path.unlink(missing_ok=True)
    with contextlib.suppress(Exception):  # gone already, or of a Ray that has ended
        remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(identity)))
    return True
