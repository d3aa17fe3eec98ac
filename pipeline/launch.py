"""The door to Ray: starts or joins a cluster, and runs one job as a Ray Train TorchTrainer (DDP).

Rows, checkpoints and records are our own files (`pipeline.trainer`); Ray brings processes, process groups and the
restart of lost workers, and nothing that it keeps decides what is done. Internal classes of Ray are used where marked;
`tests/integration/test_ray_contract.py` holds a test for each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.train.torch.config import _TorchBackend
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2.api.config import LoggingConfig
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup

from pipeline.config import ExecutionConfig
from pipeline.distributed import Worker
from pipeline.job import Job
from pipeline.lease import leader_lock
from pipeline.network import interface_of
from pipeline.worker import RunError, failure, run_job, write_failure
from sharedris.errors import InputError

RESTARTS = 3
"""How often lost workers are replaced before a run counts as failed; causes that repeat are not retried."""

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
_PACKAGES = ("sharedris", "pipeline", "sweeps")


@contextlib.contextmanager
def ray_cluster(*, cpus: int | None = None) -> Iterator[None]:
    """Join the cluster that `RAY_ADDRESS` names, or start a private one on this machine for the time of the block.

    Raises:
        InputError: when the named cluster cannot be joined.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        code = Path(__file__).resolve().parent.parent
        modules = [str(code / package) for package in _PACKAGES]
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
    trials = int(held // execution.workers)
    arithmetic = f"{held:g} {resource} / {execution.workers} per run = {trials} at once"
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
    storage = job.runs_root / "ray"
    # A new name each time: Ray continues whatever it finds under an old one, whatever has changed since.
    name = f"{job.run_id}-{uuid.uuid4().hex[:6]}"
    trainer = LeanTorchTrainer(
        worker_loop,
        train_loop_config={"job": job},
        torch_config=NodeTorchConfig(),
        scaling_config=ScalingConfig(
            num_workers=job.execution.workers,
            use_gpu=wants_gpu(job.execution),
            resources_per_worker=None if wants_gpu(job.execution) else {"CPU": 1},
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
            write_failure(job, _one_line(error), str(error))
        raise RunError(failure(job) or _one_line(error)) from error
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)
    if not job.done:
        raise RunError(f"{job.run_id} ended without a record")


def worker_loop(config: dict[str, Any]) -> None:
    """Run the job as one worker of a Ray Train worker group."""
    context = ray.train.get_context()
    rank = context.get_world_rank()
    worker = Worker(rank=rank, world=context.get_world_size(), device=get_device())
    job: Job = config["job"]
    if worker.device.type == "cpu":
        # One CPU is what this worker holds; more threads would only fight its neighbours.
        torch.set_num_threads(1)
    with leader_lock(job.state_folder) if worker.leads else contextlib.nullcontext():
        run_job(job, worker)


def run_in_process(job: Job, say: Callable[[str], None] = print) -> None:
    """Run a job of one worker in this process, without Ray: no start-up, the same code, the same record.

    Raises:
        InputError: for more than one worker.
        RunError: with the cause in one line.
    """
    if job.execution.workers != 1:
        raise InputError(f"{job.execution.workers} workers need Ray", "Leave --in-process out")
    cuda = job.execution.device == "cuda" or (job.execution.device == "auto" and torch.cuda.is_available())
    with leader_lock(job.state_folder):
        run_job(job, Worker(device=torch.device("cuda", 0) if cuda else torch.device("cpu")), say)


def check_shared_storage(root: Path) -> None:
    """Prove that every node reads what the driver writes below `root`, before hours are spent.

    Raises:
        InputError: naming the nodes that do not.
    """
    root.mkdir(parents=True, exist_ok=True)
    nonce = uuid.uuid4().hex
    path = root / f".nonce-{nonce[:8]}"
    path.write_text(nonce)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if len(nodes) < 2:
            return
        read = ray.remote(num_cpus=0)(_read_text)
        answers = {
            node["NodeManagerHostname"]: read.options(
                scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                    node["NodeID"], soft=False
                )
            ).remote(str(path))
            for node in nodes
        }
        blind = [host for host, answer in answers.items() if ray.get(answer) != nonce]
    finally:
        path.unlink(missing_ok=True)
    if blind:
        raise InputError(
            f"{root} is not shared: {', '.join(blind)} cannot read what this node writes there",
            "Give a folder that all nodes mount, with RUNS= (--runs)",
        )


def _read_text(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None


def _one_line(error: BaseException) -> str:
    """Return the innermost cause of Ray's nested errors; their text is a page of traces."""
    cause: BaseException = error
    workers = getattr(error, "worker_failures", None)  # of ray.train's WorkerGroupError: rank -> exception
    if workers:
        cause = next(iter(workers.values()))
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (named or [f"{type(cause).__name__}: {lines[-1] if lines else ''}"])[-1]


class LeanTorchTrainer(TorchTrainer):
    """TorchTrainer without the actors that we have no use for: each is a process whose start takes seconds.

    Ray Data's manager serves data sets that we do not pass; the placement-group cleaner does not work without the
    dashboard, and `free_placement_group` does its task. Internal interface of ray 2.60.
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]


class PlacementGroupNote(WorkerGroupCallback):
    """Writes down the placement group of a worker group, so that it can be freed when its controller is gone.

    Ray's own cleaner needs the dashboard and fails beside a second Ray on the host (ray#54305, ray#65443); then a
    stopped trial keeps its CPUs and the next one waits for ever. Internal interface of ray 2.60.
    """

    def __init__(self, state_folder: str) -> None:
        self._path = Path(state_folder) / "placement_group"

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Note the id; called on the controller."""
        group = worker_group._worker_group_state.placement_group_handle.placement_group
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(group.id.hex())

    def after_worker_group_shutdown(self, worker_group_context: Any) -> None:
        """Forget the id: Ray has freed the group itself."""
        self._path.unlink(missing_ok=True)


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


@dataclass
class NodeTorchConfig(TorchConfig):
    """TorchConfig whose gloo binds to the interface of the node's own Ray address."""

    @property
    def backend_cls(self) -> type:
        """The backend that sets the interface before the process group forms."""
        return _NodeTorchBackend


class _NodeTorchBackend(_TorchBackend):
    """Where a hostname resolves to 127.0.0.1 gloo binds to it and two hosts never meet (`connectFullMesh failed`)."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(_bind_gloo)
        super().on_start(worker_group, backend_config)


def _bind_gloo() -> None:
    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
