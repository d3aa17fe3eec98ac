"""The checkpoint that a run goes on from: one for all ranks, verified once on each node before its workers load it.

The first worker of a node reads and hashes the file, and the others wait for it. So a shared folder sends a checkpoint
to a node once: the others read what the node's kernel has cached. Where runs live in an object store, the worker that
brought the file to the node has verified it on arrival, under the lock of the working folder, and none hashes it again.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from pipeline.distributed.process_group import Worker
from pipeline.job import Job
from pipeline.shared_folder import arrives
from pipeline.training import checkpoints
from sharedris.errors import InputError
from sharedris.finite_weights import require_finite


def load_checkpoint(job: Job, worker: Worker) -> dict[str, Any] | None:
    """Return the newest complete checkpoint, which rank zero selects, so that all ranks start from the same step.

    Collective; None where there is none.

    Raises:
        InputError: on every rank, where a node reads another file than rank zero, or the weights are not finite.
    """
    saved = None
    if worker.is_main_process:
        saved = checkpoints.load_newest(job.state_folder, content_hash=job.content_hash)
    chosen = worker.gather(None if saved is None else (saved["epoch"], saved["step"]))[0]
    if chosen is None:
        return None
    epoch, step = chosen
    path = checkpoints.path_of(job.state_folder, epoch=epoch, step=step)
    _verify_on_each_node(path, worker)
    if saved is None:
        saved = checkpoints.load(path)
    # On every rank alike, so that none waits for another.
    require_finite(saved["model"], str(path), "Remove it to resume from the checkpoint before it")
    return saved


def _verify_on_each_node(path: Path, worker: Worker) -> None:
    """Wait until the first worker of each node has verified the file there; rank zero has done so.

    Raises:
        InputError: on every rank, naming a node where it is missing or damaged.
    """
    problem = None
    if worker.is_first_on_node and not worker.is_main_process and not arrives(lambda: checkpoints.is_whole(path)):
        problem = f"{path} is missing or damaged on {socket.gethostname()}, and whole on the node of rank zero"
    for each in worker.gather(problem):
        if each is not None:
            raise InputError(each, "Look at the storage of that node; the same command goes on from the checkpoint")
