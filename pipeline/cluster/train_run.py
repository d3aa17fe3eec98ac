"""One job as a Ray Train run: the trainer on the driver, the loop on each worker."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import get_device
from ray.train.v2.api.config import LoggingConfig

from pipeline.cluster.launch import set_environment, wants_gpu
from pipeline.cluster.ray_patches import NodeInterfaceTorchConfig, RecordPlacementGroup, RunTrainer
from pipeline.distributed.process_group import COLLECTIVE_TIMEOUT_SECONDS, Worker
from pipeline.failures import RunError, describe_lost_workers, failure, write_failure
from pipeline.job import Job
from pipeline.lifecycle.locks import rank_zero_lock
from pipeline.monitoring.run_log import log_to_run
from pipeline.records import record_path
from pipeline.run import run_job

RESTARTS = 3
"""How often lost workers are replaced without a new checkpoint before a run counts as failed."""


FILE_ARRIVES_SECONDS = 90.0
"""How long a file of another node may stay unseen: NFS keeps for a minute that there was none."""


def fit(job: Job) -> None:
    """Run one job with Ray Train in the cluster that `ray_cluster` holds, to its record.

    Raises:
        RunError: with the cause in one line.
    """
    set_environment()  # a trial on another node has not the driver's
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
        torch_config=NodeInterfaceTorchConfig(timeout_s=COLLECTIVE_TIMEOUT_SECONDS),
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
            callbacks=[RecordPlacementGroup(str(job.state_folder))],
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
    worker = Worker(rank=rank, world_size=context.get_world_size(), device=get_device())
    job: Job = config["job"]
    require_marker_file(job, config["sign"])
    if worker.device.type == "cpu":
        # One CPU is what this worker holds; more threads would only fight its neighbours.
        torch.set_num_threads(1)
    with contextlib.ExitStack() as held:
        if worker.is_main_process:
            held.enter_context(rank_zero_lock(job.state_folder))
        held.enter_context(log_to_run(job.state_folder, rank=rank, world_size=worker.world_size))
        run_job(job, worker)


def require_marker_file(job: Job, sign: Path) -> None:
    """Refuse to work where the driver's sign is not seen: on a node that came back without its mount, or before it.

    Raises:
        FileNotFoundError: and no RunError, since such a node is like one that is away.
    """
    if not _arrives(sign):
        node = ray.util.get_node_ip_address()
        raise FileNotFoundError(f"{node} does not see {job.state_folder}, in which the driver has left a sign")
