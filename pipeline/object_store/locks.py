"""Where the small objects lie that lock a run: in the store itself, or elsewhere if it has no conditional writes.

A process keeps the locks of a prefix in one place. The driver chooses it with its first lease: the store, or what an
opener gives (an actor of a Ray cluster, `pipeline.cluster.lease_actor`). Trials and workers follow the driver's token.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Found:
    """An object: its key below the prefix, its version, its bytes, and when it was written by the store's clock.

    `sha256` is what its content was verified with, where it was read.
    """

    key: str
    e_tag: str
    size: int
    modified: float
    sha256: str | None = None


class Locks(Protocol):
    """Small objects that are read, and written under a condition."""

    def probe(self, folder: str) -> float:
        """Check that conditions are kept, and return the time by which `Found.modified` is counted (seconds).

        Raises:
            NoConditionsError: where they are not.
        """

    def get(self, key: str) -> tuple[bytes, Found] | None:
        """Return an object, or None where there is none."""

    def put(self, key: str, content: bytes, *, replaces: str | None) -> str:
        """Write an object and return its version.

        Raises:
            ConflictError: where another version is there than `replaces`, or one at all for None.
        """

    def end_if_free(self) -> None:
        """Give back what keeps the locks, if no driver holds one."""


Opener = Callable[[str], contextlib.AbstractContextManager[Locks]]
_elsewhere: dict[str, Locks] = {}
_openers: list[Opener] = []


def locks_elsewhere(url: str) -> Locks | None:
    """Return what keeps the locks of a prefix in place of its store, in this process."""
    return _elsewhere.get(url)


def keep_elsewhere(url: str, locks: Locks) -> None:
    """Keep the locks of a prefix there until this process ends: of a trial or a worker, which has one driver."""
    _elsewhere[url] = locks


@contextlib.contextmanager
def may_keep_elsewhere(opener: Opener | None) -> Iterator[None]:
    """Allow an opener while the block lasts, for stores without conditional writes; None allows nothing."""
    if opener is None:
        yield
        return
    _openers.append(opener)
    try:
        yield
    finally:
        _openers.remove(opener)


@contextlib.contextmanager
def kept_elsewhere(url: str) -> Iterator[bool]:
    """Keep the locks of a prefix elsewhere while the block lasts; yields False where nothing may keep them."""
    if not _openers:
        yield False
        return
    with _openers[-1](url) as locks:
        _elsewhere[url] = locks
        try:
            yield True
        finally:
            del _elsewhere[url]
