"""One run from start to record, as each of its workers executes it; knows nothing of Ray."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.distributed import Worker
from pipeline.files import read_json, write_json
from pipeline.finish import finish
from pipeline.job import Job
from pipeline.progress import Progress, ProgressFile
from pipeline.trainer import Say, train


class RunError(RuntimeError):
    """A run that failed for a reason that another try would meet again; the message is one line."""


def run_job(job: Job, worker: Worker, say: Say = print) -> None:
    """Train, evaluate and record one run.

    A cause that another try would meet again is written to the run's `failure.json` before it is raised, so that a
    launcher that restarts lost workers does not train into the same wall three times. A lost peer is no such cause.

    Raises:
        RunError: with the cause in one line.
    """
    if failure(job) is not None:
        raise RunError(str(failure(job)))
    try:
        finish(job, worker, train(job, worker, say))
    except Exception as error:
        if worker.world > 1 and _peer_was_lost(error):
            raise
        cause = describe_failure(error, job)
        write_failure(job, cause, traceback.format_exc())
        raise RunError(cause) from error


def _peer_was_lost(error: Exception) -> bool:
    """Whether a collective failed because another worker ended; gloo says so in a plain RuntimeError."""
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error).lower())


def describe_failure(error: BaseException, job: Job) -> str:
    """Return one line with the cause, the remedy where one is known, and what is left to continue from."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        text = (
            f"out of memory with {job.micro_batch_size} samples a forward; lower --micro-batch-size "
            "(gradient accumulation keeps the global batch) or set --activation-checkpointing"
        )
    elif isinstance(error, OSError):
        text = f"{error.strerror or text} ({error.filename or 'no file named'}); the checkpoint before it is intact"
    newest = max((path.name for path in job.state_folder.glob("checkpoint-*.pt")), default="none")
    return f"{text} [last checkpoint: {newest}]"


def failure(job: Job) -> str | None:
    """Return the cause that `run_job` wrote, or None."""
    values = read_json(_failure_path(job))
    return None if values is None else values["cause"]


def write_failure(job: Job, cause: str, trace: str) -> None:
    """Keep the cause and its trace beside the run's checkpoints; on a full disk the exception has to do."""
    try:
        write_json(_failure_path(job), {"run_id": job.run_id, "cause": cause, "trace": trace})
        ProgressFile(job.state_folder).write(Progress(run_id=job.run_id, phase="failed", message=cause))
    except OSError:
        return


def clear_failure(job: Job) -> None:
    """Forget a failure: the user asks for another try."""
    _failure_path(job).unlink(missing_ok=True)


def _failure_path(job: Job) -> Path:
    return job.state_folder / "failure.json"
