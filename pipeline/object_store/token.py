"""The right to write a run in the store, as the driver that holds its lease hands it to trials and workers.

    STATE/lease.json      in the driver's working folder only: {"url", "key", "fence", "nonce", "elsewhere", "process",
                          "started"}

Every write of a run asks the store first whether the lease still has the nonce. A fencing number counts the drivers of
a run: a lower one is of an earlier driver.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.files import read_json, write_json
from pipeline.object_store.faults import ConflictError
from pipeline.object_store.objects import Objects, open_objects
from sharedris.errors import InputError

TOKEN = "lease.json"  # noqa: S105  # the name of a file
_WRITER = "writer.json"


class LeaseLostError(InputError):
    """Another driver, or another worker of rank zero, writes this run now."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """The lease at `key` below `url`, its fencing number, the nonce of its holder, and whether the store keeps it."""

    url: str
    key: str
    fence: int
    nonce: str
    elsewhere: bool = False

    @property
    def folder(self) -> str:
        """The state folder, below the prefix."""
        return self.key.rpartition("/")[0]


def write_token(state_folder: Path, token: Token) -> None:
    """Write the token for trials of this driver, which run on its node."""
    mine = {"process": os.getpid(), "started": psutil.Process().create_time()}
    write_json(state_folder / TOKEN, {**asdict(token), **mine})


def read_token(state_folder: Path) -> Token | None:
    """Return the token of the driver of a run; None in a plain folder."""
    values = read_json(state_folder / TOKEN)
    if not isinstance(values, dict):
        return None
    named = {name: values[name] for name in ("url", "key", "fence", "nonce")}
    return Token(**named, elsewhere=values.get("elsewhere", False))


def is_of_a_living_process(path: Path) -> bool:
    """Return whether the driver that wrote a token is alive; one that was killed leaves it behind."""
    values: Any = read_json(path)
    try:
        return bool(abs(psutil.Process(int(values["process"])).create_time() - float(values["started"])) < 1.0)
    except (psutil.Error, TypeError, KeyError, ValueError):
        return False


def require_lease(objects: Objects, token: Token) -> None:
    """Refuse to write where the lease is of another driver.

    Raises:
        LeaseLostError: then.
    """
    answer = objects.locks.get(token.key)
    if answer is None or _values(answer[0]).get("nonce") != token.nonce:
        raise LeaseLostError(
            f"{token.folder.rpartition('/')[2]}: another driver has taken the run over",
            "This one ends, and what it wrote since does not count",
        )


class WriterClaim:
    """The right of one worker of rank zero to write: a later one, on whatever node, takes it from it.

    A node that was cut off may come back while its successor trains: its writes are then refused.

    Args:
        objects: below the prefix.
        token: of the driver.
    """

    def __init__(self, objects: Objects, token: Token) -> None:
        self._objects, self._token = objects, token
        self._key, self._nonce = f"{token.folder}/{_WRITER}", uuid.uuid4().hex

    def take(self) -> None:
        """Take the right from whoever has it.

        Raises:
            LeaseLostError: where the driver has lost its lease.
        """
        while True:
            require_lease(self._objects, self._token)
            before = self._objects.locks.get(self._key)
            values = json.dumps({"fence": self._token.fence, "nonce": self._nonce}).encode()
            try:
                self._objects.locks.put(self._key, values, replaces=None if before is None else before[1].e_tag)
            except ConflictError:  # perhaps our own, with a lost answer
                if not self._is_mine():
                    continue
            return

    def require(self) -> None:
        """Refuse to write where another driver or another worker has the right.

        Raises:
            LeaseLostError: then.
        """
        require_lease(self._objects, self._token)
        if not self._is_mine():
            raise LeaseLostError(
                f"{self._token.folder.rpartition('/')[2]}: another worker of rank zero writes this run now",
                "This one ends, and what it wrote since does not count",
            )

    def _is_mine(self) -> bool:
        answer = self._objects.locks.get(self._key)
        return answer is not None and _values(answer[0]).get("nonce") == self._nonce


def objects_of(token: Token) -> Objects:
    """Return the objects below the prefix of a token."""
    return open_objects(token.url)


def _values(content: bytes) -> dict[str, object]:
    try:
        values = json.loads(content)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
