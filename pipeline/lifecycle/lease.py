"""The lock of a driver where runs live in an object store: an object that only conditional writes change.

    STATE/driver.json   {"host", "process", "since", "process_started", "fence", "nonce", "beat", "released"}

The holder writes it again every 15 seconds. A driver that finds it unchanged for two minutes, both times by the store's
clock, takes it over under the next fencing number; so does one on the same host as soon as the holder's process is
gone. The clocks of the hosts do not matter. A holder that was away for longer finds another nonce and ends.

A store without conditional writes cannot refuse the second of two writes. There the same values are kept elsewhere
(`pipeline.object_store.locks`), and the object in the store is a copy of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from pipeline.lifecycle.heartbeat import Heartbeat, driver_process, heartbeat_of
from pipeline.object_store.faults import ConflictError, NoConditionsError, StoreError
from pipeline.object_store.layout import LEASE
from pipeline.object_store.locks import kept_elsewhere
from pipeline.object_store.mirror import Mirror, mirror_of
from pipeline.object_store.objects import Objects
from pipeline.object_store.token import TOKEN, LeaseLostError, Token, require_lease, write_token
from sharedris.errors import InputError

log = logging.getLogger(__name__)
BEAT_SECONDS = 15.0
STALE_SECONDS = 120.0
_LOOK_SECONDS = 2.0


class RunHeldError(InputError):
    """Another driver works on this run."""


class Lease:
    """A lease that this process holds.

    Args:
        objects: below the prefix.
        token: key, fencing number and nonce.
        e_tag: version of the object.
    """

    def __init__(self, objects: Objects, token: Token, e_tag: str) -> None:
        self._objects, self.token, self._e_tag = objects, token, e_tag
        self._beats, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name=f"lease {token.folder}")

    def keep(self) -> None:
        """Start to renew the lease, in a thread."""
        self._thread.start()

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self.renew()
            except LeaseLostError as error:
                log.error("%s", error)
                _end_this_process()
                return
            except StoreError as error:
                log.warning("%s: the lease is not renewed: %s", self.token.folder, error.message)

    def renew(self) -> None:
        """Write the lease again.

        Raises:
            LeaseLostError: where another driver has it.
        """
        self._beats += 1
        self._write(released=False)

    def release(self) -> None:
        """Give the lease up; it stays, with its fencing number."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        with contextlib.suppress(LeaseLostError):
            self._write(released=True)
        self._objects.locks.end_if_free()

    def _write(self, *, released: bool) -> None:
        content = _content(self.token, beat=self._beats, released=released)
        try:
            self._e_tag = self._objects.locks.put(self.token.key, content, replaces=self._e_tag)
        except ConflictError:
            require_lease(self._objects, self.token)  # else it is our own write, whose answer was lost
            answer = self._objects.locks.get(self.token.key)
            if answer is not None:
                self._e_tag = answer[1].e_tag


def acquire(objects: Objects, state_key: str) -> Lease:
    """Take the lease of a state folder.

    Raises:
        RunHeldError: naming the holder, when it is alive.
        NoConditionsError: where the store has no conditional writes, and nothing else keeps the locks.
        StoreError: where the store cannot be used.
    """
    key, since, seen = f"{state_key}/{LEASE}", time.monotonic(), ""
    while True:
        now = objects.locks.probe(state_key)
        answer = objects.locks.get(key)
        if answer is None:
            lease = _try_to_write(objects, key, fence=1, replaces=None)
        else:
            content, found = answer
            values = _values(content)
            holder = heartbeat_of(values)
            if not values.get("released") and _lives(holder, now - found.modified):
                if (holder is not None and holder.is_here) or (seen and seen != found.e_tag):
                    raise _held(state_key, holder)
                if not seen:
                    log.warning(
                        "%s is held by %s, last seen %.0f s ago; waiting whether it is alive, up to %.0f s",
                        state_key.rpartition("/")[2],
                        holder or "another driver",
                        now - found.modified,
                        STALE_SECONDS,
                    )
                seen = found.e_tag
                if time.monotonic() - since > 2 * STALE_SECONDS + BEAT_SECONDS:  # its clock or the store is slow
                    raise _held(state_key, holder)
                time.sleep(_LOOK_SECONDS)
                continue
            fence = values.get("fence")
            lease = _try_to_write(objects, key, fence=fence + 1 if isinstance(fence, int) else 1, replaces=found.e_tag)
        if lease is not None:
            return lease


def _lives(holder: Heartbeat | None, age_seconds: float) -> bool:
    """Whether the holder of a lease may be alive; on this host its process is looked for."""
    if holder is not None and holder.is_here:
        return driver_process(holder) is not None
    return age_seconds < STALE_SECONDS


def _held(state_key: str, holder: Heartbeat | None) -> RunHeldError:
    return RunHeldError(
        f"{state_key.rpartition('/')[2]} is being run by {holder or 'another process'}",
        "Wait for it, or stop it; the same command then goes on from its last checkpoint",
    )


def _try_to_write(objects: Objects, key: str, *, fence: int, replaces: str | None) -> Lease | None:
    """Write a lease of this process over a version; None where another process was faster."""
    locks, nonce = objects.locks, uuid.uuid4().hex
    token = Token(url=objects.url, key=key, fence=fence, nonce=nonce, elsewhere=not objects.has_conditions)
    try:
        e_tag = locks.put(key, _content(token, beat=0, released=False), replaces=replaces)
    except ConflictError:
        answer = locks.get(key)
        if answer is None or _values(answer[0]).get("nonce") != nonce:
            return None
        e_tag = answer[1].e_tag  # our own write, whose answer was lost
    return Lease(objects, token, e_tag)


def _content(token: Token, *, beat: int, released: bool) -> bytes:
    mine = Heartbeat(
        host=socket.gethostname(),
        process=os.getpid(),
        since=time.time(),
        process_started=psutil.Process().create_time(),
    )
    values = {**asdict(mine), "fence": token.fence, "nonce": token.nonce, "beat": beat, "released": released}
    return json.dumps(values, sort_keys=True).encode()


def _values(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _end_this_process() -> None:
    """End like after SIGTERM: workers are ended, files closed. Only where a handler turns it into an exception."""
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def lease_of(state_folder: Path) -> Iterator[None]:
    """Hold the lease of a state folder while the block lasts; does nothing in a plain folder.

    What the store has of the run is brought first, and what a killed driver left here without putting it is removed.
    At the end, what this process has written or removed is put.

    Raises:
        RunHeldError: naming the holder.
        StoreError: where the store cannot be used, or has no conditional writes and no shared cluster is joined.
    """
    root = state_folder.parent.parent
    mirror = mirror_of(root)
    if mirror is None:
        yield
        return
    with _acquired(mirror.objects, state_folder.relative_to(root).as_posix()) as lease:
        try:
            if state_folder.parent.name == "state":
                mirror.pull(run_ids=[state_folder.name], discard=True)
            write_token(state_folder, lease.token)
            lease.keep()
            yield
            _put_the_rest(mirror, state_folder, lease.token)
        finally:
            (state_folder / TOKEN).unlink(missing_ok=True)
            lease.release()


@contextlib.contextmanager
def _acquired(objects: Objects, state_key: str) -> Iterator[Lease]:
    """Yield a lease of the store, or one that is kept elsewhere if the store has no conditional writes."""
    with contextlib.ExitStack() as held:
        try:
            lease = acquire(objects, state_key)
        except NoConditionsError:
            if not held.enter_context(kept_elsewhere(objects.url)):
                raise
            lease = acquire(objects, state_key)
        yield lease


def _put_the_rest(mirror: Mirror, state_folder: Path, token: Token) -> None:
    if state_folder.parent.name == "state":
        mirror.push(state_folder.name, lambda: require_lease(mirror.objects, token))
