"""One run from start to record, as each of its workers executes it, or one process without Ray; imports no Ray."""

from __future__ import annotations

import logging
import traceback

import torch
import torch.distributed as dist

from pipeline.added_splits import add_splits
from pipeline.data.dataset.unreadable import unreadable_samples
from pipeline.distributed.device_faults import DeviceFaultError, is_device_fault
from pipeline.distributed.process_group import Worker
from pipeline.failures import RunError, describe_failure, failure, is_out_of_memory, write_failure
from pipeline.job import Job
from pipeline.lifecycle.cleanup import remove_run_state
from pipeline.lifecycle.locks import rank_zero_lock
from pipeline.lifecycle.stored_run import kept_in_store
from pipeline.monitoring.run_log import log_to_run
from pipeline.precision import numerics
from pipeline.score_and_record import finish
from pipeline.training.trainer import train
from sharedris.errors import InputError
from sharedris.plugins import load_shipped

log = logging.getLogger(__name__)
_NAMED = 5


def run_job(job: Job, worker: Worker, *, may_move: bool = False) -> None:
    """Train, evaluate and record one run; where its record is there, evaluate only the splits that it lacks.

    A cause that a retry would hit again is written to the run's `failure.json` before it is raised, so that a launcher
    that restarts lost workers does not repeat the failure three times. A lost peer is not such a cause.

    Args:
        job: the run.
        worker: this process among the run's workers.
        may_move: whether the launcher can try the run on other hardware when a GPU fails.

    Raises:
        RunError: with the cause in one line.
        DeviceFaultError: when a GPU failed and the run may move.
    """
    # The orphans of a killed driver may have finished the run while this worker waited for them.
    trained, done = worker.gather((job.trained, job.done))[0]
    if done:
        if worker.is_main_process:
            remove_run_state(job)
        return
    if failure(job) is not None:
        raise RunError(str(failure(job)))
    try:
        load_shipped(job.plugins)
        with numerics(job.config.train.float32_products, deterministic=job.execution.deterministic):
            if trained:
                add_splits(job, worker)
                return
            state = train(job, worker)
            if worker.is_main_process:
                _log_replaced(job)
            finish(job, worker, state)
    except Exception as error:
        if worker.world_size > 1 and _is_lost_peer(error) and not is_out_of_memory(error):
            raise
        if may_move and is_device_fault(error):
            raise DeviceFaultError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
        cause = describe_failure(error, job)
        write_failure(job, error, cause, traceback.format_exc())
        raise RunError(cause) from error


def run_in_process(job: Job) -> None:
    """Run a job of one worker in this process, without Ray: no start-up, the same code, the same record.

    Raises:
        InputError: for more than one worker.
        RunError: with the cause in one line.
    """
    if job.execution.workers != 1:
        raise InputError(f"{job.execution.workers} workers need Ray", "Leave out --workers, or let Ray run them")
    cuda = job.execution.device == "cuda" or (job.execution.device == "auto" and torch.cuda.is_available())
    with (
        rank_zero_lock(job.state_folder),
        kept_in_store(job.state_folder),
        log_to_run(job.state_folder, rank=0, world_size=1),
    ):
        run_job(job, Worker(device=torch.device("cuda", 0) if cuda else torch.device("cpu")))


def _log_replaced(job: Job) -> None:
    damaged = unreadable_samples(job.state_folder)
    if damaged:
        named = "; ".join(sorted(set(damaged.values()))[:_NAMED])
        log.warning("%s: %d training samples could not be read and were replaced: %s", job.run_id, len(damaged), named)


def _is_lost_peer(error: Exception) -> bool:
    """Whether a collective failed because another worker ended, or because the launcher ends them all.

    gloo reports the first as a plain RuntimeError. A launcher that detects a loss, or adds workers, destroys the
    process group of workers that still train (Ray Train does). torch then raises whatever error comes first.
    """
    if isinstance(error, dist.DistError) or not dist.is_initialized():
        return True
    return type(error) is RuntimeError and "gloo" in str(error).lower()
