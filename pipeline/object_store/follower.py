"""Brings what the workers of runs put, so that the driver's monitor reads it as in a folder that both mount."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.object_store.faults import StoreError
from pipeline.object_store.mirror import Mirror, mirror_of
from pipeline.object_store.save_request import pass_on_requests
from pipeline.repeating import repeated

log = logging.getLogger(__name__)
FOLLOW_SECONDS = 3.0
_KINDS = ("records", "history", "validation", "state")


@contextlib.contextmanager
def followed(root: Path, run_ids: Sequence[str]) -> Iterator[None]:
    """Bring the small files of runs every few seconds while the block lasts, and once when it has ended.

    Requests for checkpoints that this driver got by a signal are put on the way.
    """
    mirror = mirror_of(root)
    if mirror is None:
        yield
        return
    try:
        with repeated(lambda: _exchange(mirror, run_ids), FOLLOW_SECONDS, name="follow runs"):
            yield
    finally:
        bring(mirror, run_ids)


def _exchange(mirror: Mirror, run_ids: Sequence[str]) -> None:
    bring(mirror, run_ids)
    with contextlib.suppress(StoreError):  # `bring` has logged that the store is away
        pass_on_requests(mirror, run_ids)


def bring(mirror: Mirror, run_ids: Sequence[str]) -> None:
    """Bring the small files of runs; where the store does not serve, the files here stay as they are."""
    try:
        mirror.pull(_KINDS, run_ids=run_ids)
    except StoreError as error:
        log.warning("progress of %d runs is not known: %s", len(run_ids), error.message)
