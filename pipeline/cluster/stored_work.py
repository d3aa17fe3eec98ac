"""Runs in an object store under Ray: no folder is shared, each node works in a folder that it fills from the store."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace

from pipeline.cluster.lease_actor import follow
from pipeline.cluster.placement import forget_placement_group, record_placement_group
from pipeline.job import Job
from pipeline.lifecycle.locks import rank_zero_lock
from pipeline.lifecycle.stored_run import bring_run, kept_by_worker
from pipeline.monitoring.failure_file import failure_path
from pipeline.object_store.address import working_folder
from pipeline.object_store.cache import in_use, remove_unused_workers
from pipeline.object_store.follower import bring
from pipeline.object_store.mirror import Mirror, mirror_of
from pipeline.object_store.token import Token, objects_of, read_token, require_lease
from sharedris.errors import InputError


def handed_out(job: Job) -> Token | None:
    """Return what workers need to work on a run from the store, after putting what the driver has changed.

    Raises:
        LeaseLostError: where another driver has taken the run over.
    """
    token, mirror = read_token(job.state_folder), mirror_of(job.runs_root)
    follow(token)  # a trial is a process of its own
    if mirror is None or token is None:
        return None
    mirror.push(job.run_id, lambda: require_lease(mirror.objects, token))
    return token


def bring_back(job: Job) -> None:
    """Bring what the workers of a run have put; nothing in a plain folder."""
    mirror = mirror_of(job.runs_root)
    if mirror is not None:
        bring(mirror, [job.run_id])


@contextlib.contextmanager
def worked_on(job: Job, token: Token | None, *, rank: int, local_rank: int) -> Iterator[Job]:
    """Yield the job as this worker sees it: below its node's working folder where the run lives in a store.

    A node's folder is removed when the run has ended there; what a failed run leaves is of use to the next try.
    """
    if token is None:
        with contextlib.ExitStack() as held:
            if rank == 0:
                record_placement_group(job.state_folder)
                held.enter_context(rank_zero_lock(job.state_folder))
            yield job
        return
    follow(token)
    root = working_folder(token.url, f"workers/{job.run_id}")
    here = replace(job, execution=replace(job.execution, runs_root=str(root)))
    if local_rank == 0:
        remove_unused_workers(root)
    with contextlib.ExitStack() as held:
        held.enter_context(in_use(root))
        mirror = Mirror(root, objects_of(token))
        if rank == 0:
            held.enter_context(rank_zero_lock(here.state_folder))
            held.enter_context(kept_by_worker(mirror, job.run_id, token))
            record_placement_group(here.state_folder)
        else:
            here.state_folder.mkdir(parents=True, exist_ok=True)
            bring_run(mirror, job.run_id, discard=False)
            held.enter_context(_put_failure(mirror, here, token))
        yield here
        if rank == 0:  # before the last put, so that the store does not keep it
            forget_placement_group(here.state_folder)
    if local_rank == 0:
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def _put_failure(mirror: Mirror, job: Job, token: Token) -> Iterator[None]:
    """Put why this worker failed: rank zero, which puts all else, may be on another node."""
    try:
        yield
    except Exception:
        for path in (failure_path(job.state_folder), *job.state_folder.glob("device_fault-*.json")):
            with contextlib.suppress(InputError):  # the run's own error is the one to tell
                key = path.relative_to(job.runs_root).as_posix()
                mirror.push_file(key, lambda: require_lease(mirror.objects, token))
        raise
