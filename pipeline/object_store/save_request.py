"""A request for a checkpoint as an object: whoever asks and the worker of rank zero share no folder.

STATE/save-now     put by `sharedris runs save` or a driver, taken by rank zero
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.object_store.layout import SAVE_REQUEST
from pipeline.object_store.mirror import Mirror
from pipeline.object_store.objects import ANY


def put_request(mirror: Mirror, run_id: str) -> None:
    """Ask a run for a checkpoint; a request that waits already counts for both.

    Raises:
        StoreError: where the store cannot be used.
    """
    mirror.objects.put(_key(run_id), b"1", replaces=ANY)


def pass_on_requests(mirror: Mirror, run_ids: Sequence[str]) -> None:
    """Put the requests that a signal handler of this driver has left as files: a handler itself asks no store.

    Raises:
        StoreError: where the store cannot be used; the file stays, and is put later.
    """
    for run_id in run_ids:
        path = local_request(mirror, run_id)
        if path.exists():
            put_request(mirror, run_id)
            path.unlink(missing_ok=True)


def fetch_request(mirror: Mirror, run_id: str) -> None:
    """Turn a request in the store into the file that the training loop looks for, and remove it there.

    Raises:
        StoreError: where the store cannot be used.
    """
    if mirror.objects.head(_key(run_id)) is None:
        return
    path = local_request(mirror, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()  # before the object goes: a kill in between costs one checkpoint too many, not a lost request
    mirror.objects.delete([_key(run_id)])


def forget_request(mirror: Mirror, run_id: str) -> None:
    """Remove a request that came too late for the run.

    Raises:
        StoreError: where the store cannot be used.
    """
    mirror.objects.delete([_key(run_id)])


def local_request(mirror: Mirror, run_id: str) -> Path:
    """Return the file that asks for a checkpoint on this machine."""
    return mirror.root / _key(run_id)


def _key(run_id: str) -> str:
    return f"state/{run_id}/{SAVE_REQUEST}"
