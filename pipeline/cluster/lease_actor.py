"""Locks of runs in a store without conditional writes: kept by a named, detached actor of the Ray cluster.

One actor a prefix keeps the leases of all its runs, since a sweep holds one for each of its cells. It runs on the head,
takes no CPU, outlives the driver that started it, and ends when no lease is held. The store has a copy of each lease,
for commands that only read and for the next actor: after a restart of the head fencing numbers go on from it, and a
lease counts as held for the same two minutes.

It surely refuses a second driver of the same cluster only. One of another cluster sees the copy being renewed, but two
that start at the same moment both go on. And the store checks no fencing number: each write asks the actor first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from pipeline.cluster.lease_register import Kept, LeaseRegister
from pipeline.object_store.faults import ConflictError, StoreAwayError
from pipeline.object_store.layout import LEASE
from pipeline.object_store.locks import Found, Locks, keep_elsewhere, locks_elsewhere
from pipeline.object_store.mirror import is_released
from pipeline.object_store.objects import ANY, Objects, open_objects
from pipeline.object_store.token import Token

log = logging.getLogger(__name__)
NAMESPACE = "sharedris-leases"
_HEAD = {"node:__internal_head__": 0.001}
_ANSWER_SECONDS = 30.0
_LOOK_SECONDS = 60.0
_TRIES = 5
_COPY_PATIENCE_SECONDS = 5.0
"""How long a renewed lease waits for the store, which has a copy only: the actor is to be asked in time."""


def actor_name(url: str) -> str:
    """Return the name of the actor of a prefix."""
    return f"leases-{hashlib.sha256(url.encode()).hexdigest()[:16]}"


class LeaseActor(LeaseRegister):
    """The register as an actor, which ends itself when it is free.

    Args:
        name: its own.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        threading.Thread(target=self._look, args=(name,), daemon=True).start()

    def end_if_free(self) -> None:
        """End this actor if no lease is held; a call that comes later starts another one."""
        import ray

        if self.is_free():
            ray.actor.exit_actor()

    def _look(self, name: str) -> None:
        """Ask from time to time, as a call: so that it ends between two calls and not within one."""
        import ray

        while True:
            time.sleep(_LOOK_SECONDS)
            with contextlib.suppress(Exception):
                ray.get(ray.get_actor(name, namespace=NAMESPACE).end_if_free.remote())


class ActorLocks:
    """The locks of a prefix, as the actor keeps them.

    Args:
        objects: below the prefix, for the copies.
    """

    def __init__(self, objects: Objects) -> None:
        self._store = objects
        self._copies = open_objects(objects.url)
        self._copies.patience_seconds = min(objects.patience_seconds, _COPY_PATIENCE_SECONDS)
        self._copied: set[str] = set()  # nonces of leases of which the store has a copy

    def probe(self, folder: str) -> float:
        """Return the time of the actor's clock (seconds)."""
        return float(self._ask("now"))

    def get(self, key: str) -> tuple[bytes, Found] | None:
        """Return a value; a lease that nobody has taken from this actor is that of the store's copy."""
        kept: Kept | None = self._ask("get", key)
        if (kept is None or kept.is_copy) and key.endswith(f"/{LEASE}"):
            self._seed(key)
            kept = self._ask("get", key)
        if kept is None:
            return None
        return kept.content, Found(key=key, e_tag=kept.version, size=len(kept.content), modified=kept.modified)

    def _seed(self, key: str) -> None:
        copy = self._store.get(key)
        if copy is not None:
            content, found = copy
            age = max(0.0, self._store.clock(key.rpartition("/")[0]) - found.modified)
            self._ask("seed", key, content, age, held=not is_released(content))

    def put(self, key: str, content: bytes, *, replaces: str | None) -> str:
        """Write a value, and a lease into the store too.

        Raises:
            ConflictError: where another version is there.
            StoreAwayError: where the actor does not answer, or a new lease cannot be copied.
        """
        is_lease = key.endswith(f"/{LEASE}")
        version = self._ask("put", key, content, replaces, held=is_lease and not is_released(content))
        if version is None:
            raise ConflictError(key)
        if is_lease:
            self._copy(key, content)
        return str(version)

    def _copy(self, key: str, content: bytes) -> None:
        nonce = str(json.loads(content)["nonce"])
        try:
            self._copies.put(key, content, replaces=ANY)
        except StoreAwayError as error:
            if nonce not in self._copied:  # without its fencing number the next actor would begin anew
                raise
            log.warning("%s: the copy of the lease is not renewed: %s", key, error.message)
        self._copied.add(nonce)

    def end_if_free(self) -> None:
        """End the actor, if it keeps no lease of any driver."""
        with contextlib.suppress(StoreAwayError):  # it ends itself some minutes later
            self._ask("end_if_free", last=True)

    def _ask(self, method: str, *arguments: Any, last: bool = False, **named: Any) -> Any:
        """Call the actor, which is started where it does not run, and again where it has just ended.

        Raises:
            StoreAwayError: where it does not answer.
        """
        import ray
        from ray.exceptions import RayActorError, RayError

        for _ in range(_TRIES):
            try:
                actor = self._actor()
                return ray.get(getattr(actor, method).remote(*arguments, **named), timeout=_ANSWER_SECONDS)
            except RayActorError:
                if last:
                    return None
            except (RayError, ValueError, TimeoutError) as error:
                log.debug("asking %s: %s", actor_name(self._store.url), error)
            time.sleep(0.2)
        raise StoreAwayError(
            f"{self._store.url}: the actor that keeps its locks does not answer",
            "Look at the head of the Ray cluster; the same command goes on when it answers",
        )

    def _actor(self) -> Any:
        import ray

        name = actor_name(self._store.url)
        options = {"namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        return ray.remote(LeaseActor).options(name=name, num_cpus=0, resources=_HEAD, **options).remote(name)


@contextlib.contextmanager
def leases_on_cluster(url: str) -> Iterator[Locks]:
    """Join the Ray cluster of RAY_ADDRESS while the block lasts, and give the locks that its actor keeps."""
    from pipeline.cluster.launch import ray_cluster  # takes a second to import

    handler = signal.getsignal(signal.SIGTERM)
    with ray_cluster():
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has installed its own
        log.warning("%s has no conditional writes: an actor of the Ray cluster locks runs, for its drivers only", url)
        yield ActorLocks(open_objects(url))


def follow(token: Token | None) -> None:
    """Ask the actor in this process, a trial or a worker, if the driver's lease is kept there."""
    if token is not None and token.elsewhere and locks_elsewhere(token.url) is None:
        keep_elsewhere(token.url, ActorLocks(open_objects(token.url)))
