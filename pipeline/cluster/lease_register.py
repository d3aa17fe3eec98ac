"""The register in which an actor keeps the locks of a prefix: small values that are written under a condition.

It has the semantics of a store with conditional writes, so that leases are the same in both. Nothing here knows Ray.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

FORGET_SECONDS = 600.0
"""A lease that was not renewed for so long does not keep the register alive; the store has a copy of it."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A value: its version, when it was written by the register's clock (seconds), and whether a driver holds it.

    One that comes from the store's copy was not written here since.
    """

    content: bytes
    version: str
    modified: float
    held: bool
    is_copy: bool = False


class LeaseRegister:
    """Values by key; calls come one after the other.

    Args:
        clock: in seconds; never set back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._kept = clock, dict[str, Kept]()
        self._name, self._writes = uuid.uuid4().hex[:12], 0  # versions of another register never equal those of this

    def now(self) -> float:
        """Return the time of the clock."""
        return self._clock()

    def get(self, key: str) -> Kept | None:
        """Return a value, or None where none was written."""
        return self._kept.get(key)

    def put(self, key: str, content: bytes, replaces: str | None, *, held: bool) -> str | None:
        """Write a value and return its version; None, and nothing is written, where another version is there.

        Args:
            key: of the value.
            content: of the value.
            replaces: the version that must be there; None where no value may be there.
            held: whether a driver holds this lease from now on.
        """
        before = self._kept.get(key)
        if replaces != (None if before is None else before.version):
            return None
        return self._write(key, content, age_seconds=0.0, held=held)

    def seed(self, key: str, content: bytes, age_seconds: float, *, held: bool) -> None:
        """Take the store's copy of a value that nobody has written here: what the register before this one knew.

        Again where the copy has changed since: a driver of another cluster renews it.
        """
        before = self._kept.get(key)
        if before is None or (before.is_copy and before.content != content):
            self._write(key, content, age_seconds=age_seconds, held=held, is_copy=True)

    def _write(self, key: str, content: bytes, *, age_seconds: float, held: bool, is_copy: bool = False) -> str:
        self._writes += 1
        version, modified = f"{self._name}-{self._writes}", self._clock() - age_seconds
        self._kept[key] = Kept(content=content, version=version, modified=modified, held=held, is_copy=is_copy)
        return version

    def is_free(self) -> bool:
        """Return whether no driver holds a lease, or none has renewed one for ten minutes."""
        now = self._clock()
        return not any(kept.held and now - kept.modified < FORGET_SECONDS for kept in self._kept.values())
