"""Why a run failed: one line with cause and remedy, kept in the run's `failure.json`."""

from __future__ import annotations

import re
from dataclasses import replace

import torch

from pipeline.files import is_out_of_space, write_json
from pipeline.job import Job
from pipeline.monitoring.device_fault_file import forget_device_faults
from pipeline.monitoring.failure_file import failure_path, read_cause, read_is_bad_input
from pipeline.monitoring.progress import Progress, read_progress
from pipeline.training import checkpoints
from sharedris.errors import InputError

_LOADER_KILLED = "is killed by signal: Killed"
_LOADER_WITHOUT_SHARED_MEMORY = "is killed by signal: Bus error"
_LOADER_ENDED = "exited unexpectedly"
"""Of a loader process that a signal ended, where torch has no handler of SIGCHLD: in a thread, as under Ray Train."""

_LOADER_SIGNS = (_LOADER_KILLED, _LOADER_WITHOUT_SHARED_MEMORY, _LOADER_ENDED)
_SIGNS_OF_NO_MEMORY = (
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "out of memory",  # NCCL's and CUDA's own words
)


class RunError(RuntimeError):
    """A run failed for a reason that a retry would hit again; the message is one line."""


_SIGNS_OF_A_FULL_DISK = ("PytorchStreamWriter failed writing file", "inline_container.cc")
"""Of torch.save, which writes only checkpoints here."""


def describe_failure(error: BaseException, job: Job) -> str:
    """Return one line with the cause, the remedy where one is known, and what is left to continue from."""
    if isinstance(error, InputError):
        text = _without_trace(str(error))  # a loader process sends its trace along
    elif is_out_of_memory(error):
        text = _out_of_memory_in_words(error, job)
    elif is_disk_full(error):
        named, reason = (error.filename, error.strerror) if isinstance(error, OSError) else (None, None)
        text = f"disk full: {named or job.runs_root} could not be written ({reason or 'torch.save failed'}); "
        text += "free space there and run the same command again"
    elif isinstance(error, OSError):
        text = f"{error.strerror or _without_trace(str(error))} ({error.filename or 'no file named'})"
    else:
        text = f"{type(error).__name__}: {_without_trace(str(error))}"
    return f"{text} [last good checkpoint: {checkpoints.newest_name(job.state_folder) or 'none'}]"


def _without_trace(text: str) -> str:
    """Return the line with the cause, of a text that may hold a complete traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return named[-1].split(": ", 1)[1] if named else (lines or [""])[0]


def is_disk_full(error: BaseException) -> bool:
    """Whether a file system had no room; torch's archive writer hides the system's error behind one of its own."""
    if isinstance(error, OSError):
        return is_out_of_space(error)
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS_OF_A_FULL_DISK)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or the host had no memory left; torch and its libraries often say so in a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return _is_lost_loader(error) or any(sign in str(error) for sign in _SIGNS_OF_NO_MEMORY)


def _is_lost_loader(error: BaseException) -> bool:
    return "DataLoader worker" in str(error) and any(sign in str(error) for sign in _LOADER_SIGNS)


def _out_of_memory_in_words(error: BaseException, job: Job) -> str:
    if _is_lost_loader(error):
        return _lost_loader_in_words(str(error))
    reading = read_progress(job.state_folder)
    if reading is not None and reading.phase == "evaluating":
        if (job.execution.evaluation_batch_size or 1) > 1:
            return f"out of memory with {job.execution.evaluation_batch_size} samples a forward: set --batch-size lower"
        return "out of memory in evaluation, which takes one sample a forward: it needs a device with more memory"
    size = job.per_rank_batch(job.execution.workers).micro_batch_size
    return (
        f"out of memory with {size} samples a forward: set --micro-batch-size lower (gradient accumulation keeps the "
        "global batch), or --activation-checkpointing"
    )


def _lost_loader_in_words(text: str) -> str:
    if _LOADER_WITHOUT_SHARED_MEMORY in text:
        return (
            "a loader process ran out of shared memory: enlarge /dev/shm (a container's --shm-size), or set "
            "--loader-workers lower"
        )
    if _LOADER_KILLED in text:
        return "a loader process was killed, as a host does that is out of memory: set --loader-workers lower"
    return (
        "a loader process was ended by a signal, as a host does that is out of memory or of shared memory (/dev/shm): "
        "set --loader-workers lower"
    )


def describe_lost_workers(error: BaseException, job: Job) -> str:
    """Return one line of what a launcher raised when workers were lost for good."""
    texts = "\n".join(str(each) for each in (error, *getattr(error, "worker_failures", {}).values()))
    found = re.search(r"running low on memory.*? was (\S+ used / \S+ limit)", texts, re.DOTALL)
    if found is None:
        return innermost(error)
    size = job.per_rank_batch(job.execution.workers).micro_batch_size
    return (
        f"a node ran out of memory ({found[1]}) and Ray ended a worker there, with {size} samples a forward: set "
        "--micro-batch-size or --loader-workers lower, or give the node more memory "
        f"[last good checkpoint: {checkpoints.newest_name(job.state_folder) or 'none'}]"
    )


def innermost(error: BaseException) -> str:
    """Return the cause of Ray's nested errors in one line; their text is a page of traces."""
    cause: BaseException = error
    workers = getattr(error, "worker_failures", None)  # of ray.train's WorkerGroupError: rank -> exception
    if workers:
        cause = next(iter(workers.values()))
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (named or [f"{type(cause).__name__}: {lines[-1] if lines else ''}"])[-1]


def failure(job: Job) -> str | None:
    """Return the cause that `run_job` wrote, or None."""
    return read_cause(job.state_folder)


def is_for_the_user(job: Job, error: RunError) -> bool:
    """Whether the run failed for what a user can mend: bad input or a full disk."""
    return _is_bad_input(error.__cause__) or read_is_bad_input(job.state_folder)  # the file: of a worker of Ray


def _is_bad_input(error: BaseException | None) -> bool:
    return error is not None and (isinstance(error, InputError) or is_disk_full(error))


def write_failure(job: Job, error: BaseException, cause: str, trace: str) -> None:
    """Store the cause and its traceback next to the run's checkpoints; on a full disk only the exception remains."""
    values = {"run_id": job.run_id, "cause": cause, "is_bad_input": _is_bad_input(error), "trace": trace}
    try:
        write_json(failure_path(job.state_folder), values)
        last = read_progress(job.state_folder) or Progress(run_id=job.run_id, phase="starting")
        job.progress_file.write(replace(last, phase="failed", message=cause))
    except OSError:
        return


def clear_failure(job: Job) -> None:
    """Forget a failure: the user asks for another try."""
    forget_device_faults(job.state_folder)
    failure_path(job.state_folder).unlink(missing_ok=True)
    last = read_progress(job.state_folder)
    if last is not None and last.phase == "failed":
        job.progress_file.write(replace(last, phase="starting", message=""))
