"""A run that writes into a working folder while the store keeps it: brought at the start, put while it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.object_store.mirror import Mirror, mirror_of
from pipeline.object_store.pusher import pushed
from pipeline.object_store.token import Token, WriterClaim, read_token, require_lease

_TO_RESUME = ("records", "marks", "history", "validation", "state", "checkpoints")
_OF_A_TRAINED_RUN = ("models", "samples")


@contextlib.contextmanager
def kept_in_store(state_folder: Path) -> Iterator[None]:
    """Keep a run in the store while this process, which is its driver too, trains it; nothing in a plain folder.

    Raises:
        StoreError: where the store cannot be used, or is away at the end for too long.
        LeaseLostError: where another driver has taken the run over.
    """
    token, mirror = read_token(state_folder), mirror_of(state_folder.parent.parent)
    if mirror is None or token is None:
        yield
        return
    bring_run(mirror, state_folder.name)
    with pushed(mirror, state_folder.name, lambda: require_lease(mirror.objects, token)):
        yield


@contextlib.contextmanager
def kept_by_worker(mirror: Mirror, run_id: str, token: Token) -> Iterator[None]:
    """Keep a run in the store while this worker of rank zero trains it, and refuse those of before.

    Raises:
        StoreError: as `kept_in_store`.
        LeaseLostError: where the driver has lost its lease, or a later worker of rank zero writes.
    """
    claim = WriterClaim(mirror.objects, token)
    claim.take()
    bring_run(mirror, run_id)
    with pushed(mirror, run_id, claim.require):
        yield


def bring_run(mirror: Mirror, run_id: str, *, discard: bool = True) -> None:
    """Bring all that a run needs to go on; with `discard`, remove what the store does not have."""
    mirror.pull(_TO_RESUME, run_ids=[run_id], discard=discard)
    if (mirror.root / "records" / f"{run_id}.parquet").exists():
        mirror.pull(_OF_A_TRAINED_RUN, run_ids=[run_id], discard=discard)
