"""One job as a Ray Train run: the trainer on the driver, the loop on each worker."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import get_device
from ray.train.v2.api.config import LoggingConfig

from pipeline.cluster.launch import set_environment
from pipeline.cluster.nodes import nodes_for, wants_gpu
from pipeline.cluster.placement import forget_placement_group, free_placement_group
from pipeline.cluster.ray_patches import NodeInterfaceTorchConfig, RunTrainer
from pipeline.cluster.run_gauges import reported
from pipeline.cluster.stored_work import bring_back, handed_out, worked_on
from pipeline.cluster.versions import driver_versions, version_mismatch
from pipeline.cluster.worker_resources import worker_resources
from pipeline.distributed.device_faults import DeviceFaultError
from pipeline.distributed.process_group import COLLECTIVE_TIMEOUT_SECONDS, Worker
from pipeline.failures import RunError, describe_lost_workers, failure, innermost, write_failure
from pipeline.job import Job
from pipeline.monitoring.device_fault_file import faulty_nodes, write_device_fault
from pipeline.monitoring.run_log import log_to_run
from pipeline.provenance import gpu_name, package_versions
from pipeline.run import run_job
from pipeline.shared_folder import arrives
from sharedris.errors import InputError

log = logging.getLogger(__name__)

RESTARTS = 3
"""How often lost workers are replaced without a new checkpoint before a run counts as failed."""


def fit(job: Job) -> None:
    """Run one job with Ray Train in the cluster that `ray_cluster` holds, to its record.

    Lost workers are replaced here and not by Ray's failure policy, which counts failures of a whole run: a run of
    weeks may lose many workers as long as checkpoints advance in between, and a `RunError` is never tried again.

    Raises:
        RunError: with the cause in one line.
    """
    set_environment()  # a trial on another node does not inherit the driver's
    for orphan in (job.runs_root / "ray").glob(f"{job.run_id}-*"):  # of killed drivers: this driver holds the lock
        shutil.rmtree(orphan, ignore_errors=True)
    job.state_folder.mkdir(parents=True, exist_ok=True)
    newest, losses = _newest_checkpoint(job), 0
    while True:
        try:
            _fit_once(job)
            break
        except Exception as error:
            bring_back(job)
            before, newest = newest, _newest_checkpoint(job)
            losses = 1 if newest > before else losses + 1
            if losses > RESTARTS or not _may_restart(job, error):
                free_placement_group(job.state_folder)
                raise RunError(_cause(job, error)) from error
            with log_to_run(job.state_folder, rank=0, world_size=1):
                # Ray's text goes on with a page of possible causes.
                cause = innermost(error).split(". ")[0]
                log.warning("%s lost workers and starts them again: %s", job.run_id, cause)
    bring_back(job)
    if not arrives(lambda: job.done):
        raise RunError(f"{job.run_id} ended without a record")


def _newest_checkpoint(job: Job) -> str:
    """Return the name of the newest manifest of a checkpoint; its digest is checked by the workers that load it."""
    return max((path.name for path in job.state_folder.glob("checkpoint-*.json")), default="")


def _fit_once(job: Job) -> None:
    """Run one worker group (Ray resizes an elastic one) until it ends or loses workers."""
    free_placement_group(job.state_folder)  # of a controller that died
    storage = job.runs_root / "ray"
    # A new name each time: Ray continues whatever it finds under an old one, whatever has changed since.
    name = f"{job.run_id}-{uuid.uuid4().hex[:6]}"
    try:
        with _marker_file(job, name) as marker:
            _trainer(job, marker, name=name, storage=storage).fit()
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)
    forget_placement_group(job.state_folder)


@contextlib.contextmanager
def _marker_file(job: Job, name: str) -> Iterator[Path]:
    """Keep a file that each worker must see: a node without the mount would otherwise train into its own folder."""
    for old in job.state_folder.glob("marker-*"):
        old.unlink(missing_ok=True)
    marker = job.state_folder / f"marker-{name}"
    marker.touch()
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def _trainer(job: Job, marker: Path, *, name: str, storage: Path) -> RunTrainer:
    execution = job.execution
    elastic = execution.min_workers is not None and execution.min_workers < execution.workers
    return RunTrainer(
        worker_loop,
        batch_parts=job.config.train.parts,
        train_loop_config={"job": job, "marker": marker, "token": handed_out(job)},
        torch_config=NodeInterfaceTorchConfig(step_seconds=COLLECTIVE_TIMEOUT_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=(execution.min_workers, execution.workers) if elastic else execution.workers,
            use_gpu=wants_gpu(execution),
            resources_per_worker=worker_resources(execution, on_gpu=wants_gpu(execution)),
            accelerator_type=execution.accelerator_type,
            label_selector=_labels(job) or None,
            elastic_resize_monitor_interval_s=_resize_seconds(),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=0),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def _labels(job: Job) -> dict[str, str]:
    """Return the labels of nodes for workers: those asked for, and none whose GPU failed if the others have enough."""
    execution, faulty = job.execution, faulty_nodes(job.state_folder)
    labels = dict(execution.node_labels)
    others = [node for node in nodes_for(execution) if node["NodeID"] not in faulty]
    room = sum(node["Resources"].get("GPU", 0) for node in others)
    if faulty and room >= (execution.min_workers or execution.workers):
        labels["ray.io/node-id"] = f"!in({','.join(faulty)})"
    return labels


def _may_restart(job: Job, error: Exception) -> bool:
    """Whether other workers could succeed: workers or the controller were lost, and none of them raised a RunError."""
    if failure(job) is not None:
        return False
    if isinstance(error, WorkerGroupError):
        # On a full disk the exception is all that a worker can leave.
        return not any(_is_run_error(each) for each in error.worker_failures.values())
    if isinstance(error, ControllerError):  # a call to an actor of Ray that was away for a moment
        error = error.controller_failure
    return isinstance(error, RayActorError)


def _is_run_error(error: BaseException) -> bool:
    """Whether a worker raised a RunError: Ray keeps it as it is, as a cause, or only as the text of its trace."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, RunError):
            return True
        each = each.__cause__
    return f"{RunError.__qualname__}: " in str(error)


def _cause(job: Job, error: Exception) -> str:
    """Return why the run failed, and write it where no worker has done so."""
    cause = failure(job)
    if cause is None:
        cause = describe_lost_workers(error, job)
        write_failure(job, error, cause, str(error))
    return cause


def _resize_seconds() -> float:
    """Return how often an elastic run looks for new nodes, from the environment or Ray's own 60 s."""
    text = os.environ.get("SHAREDRIS_RESIZE_SECONDS", "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InputError(f"SHAREDRIS_RESIZE_SECONDS={text} is not a number of seconds", "Unset it, or set 60")
    return seconds


def worker_loop(config: dict[str, Any]) -> None:
    """Run the job as one worker of a Ray Train worker group."""
    context = ray.train.get_context()
    rank = context.get_world_rank()
    local_rank = context.get_local_rank()
    worker = Worker(rank=rank, world_size=context.get_world_size(), device=get_device(), local_rank=local_rank)
    job: Job = config["job"]
    if config["token"] is None:
        require_marker_file(job, config["marker"])
    require_versions(job)
    worker = replace(worker, gpus=tuple(worker.gather(gpu_name())))
    if worker.device.type == "cpu":
        # One CPU is what this worker holds; more threads would only take time from the other workers.
        torch.set_num_threads(1)
    on_node = worked_on(job, config["token"], rank=rank, local_rank=local_rank)
    with on_node as here, log_to_run(here.state_folder, rank=rank, world_size=worker.world_size):
        faulty = faulty_nodes(here.state_folder)
        try:
            with reported(here, rank=rank, device=worker.device):
                run_job(here, worker, may_move=not faulty)
        except DeviceFaultError as error:
            _record_device_fault(here, error)
            raise


def _record_device_fault(job: Job, error: DeviceFaultError) -> None:
    """Note the node, so that the next worker group starts elsewhere; a second fault ends the run."""
    node, address = ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()
    gpu = f"{gpu_name()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}".strip()
    log.warning("%s: a GPU of %s (%s) failed: %s", job.run_id, address, gpu, error)
    write_device_fault(job.state_folder, node_id=node, address=address, gpu=gpu, error=str(error))


def require_versions(job: Job) -> None:
    """Refuse a node with other versions than the driver's, in the run's own failure file.

    Raises:
        RunError: naming the node and the versions.
    """
    mismatch = version_mismatch(driver_versions(job.provenance), package_versions())
    if mismatch is not None:
        error = InputError(
            f"node {ray.util.get_node_ip_address()} has {mismatch}",
            "Make the same environment on all nodes (make venv, or one image; docs/cluster.md)",
        )
        write_failure(job, error, str(error), "")
        raise RunError(str(error))


def require_marker_file(job: Job, marker: Path) -> None:
    """Fail fast where the driver's marker file does not appear: on a node whose mount is missing.

    Raises:
        FileNotFoundError: and not a RunError, since such a node is treated like a lost one.
    """
    if not arrives(marker.exists):
        node = ray.util.get_node_ip_address()
        raise FileNotFoundError(f"{node} does not see {marker}, which the driver wrote (storage not mounted?)")
