"""Puts the files of a run while it trains, and fetches requests for checkpoints, in a thread: no step waits for it.

A store that is away for a while costs nothing: what has changed meanwhile is put when it is back. A kill costs at most
what was not put yet, and the run goes on from the checkpoint before.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from pipeline.object_store.faults import StoreAwayError
from pipeline.object_store.mirror import Guard, Mirror
from pipeline.object_store.save_request import fetch_request, forget_request
from sharedris.errors import InputError

log = logging.getLogger(__name__)
PUSH_SECONDS = 2.0
_LAST_SECONDS = 20.0
"""How long a run that was interrupted or failed waits for a store that is away."""


class Pusher:
    """Puts what changes of one run until it is ended.

    Args:
        mirror: of the working folder in which the run writes.
        run_id: of the run.
        guard: raises where this process may not write any more.
    """

    def __init__(self, mirror: Mirror, run_id: str, guard: Guard) -> None:
        self._mirror, self._run_id, self._guard = mirror, run_id, guard
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name=f"put {run_id}")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _follow(self) -> None:
        while not self._ended.wait(PUSH_SECONDS):
            try:
                self._mirror.push(self._run_id, self._guard)
                fetch_request(self._mirror, self._run_id)
            except StoreAwayError as error:
                log.warning("%s: %s; training goes on, and its files are put later", self._run_id, error.message)
            except InputError as error:  # no right to write, or no longer: `finish` raises it
                log.error("%s: nothing more is put: %s", self._run_id, error.message)
                return
            except OSError as error:
                log.warning("%s: a file could not be read, and is put later: %s", self._run_id, error)

    def finish(self) -> None:
        """Put the rest and end the thread.

        Raises:
            StoreError: where the store is away for too long, refuses, or another driver has taken the run over.
        """
        self._ended.set()
        self._thread.join()
        self._mirror.push(self._run_id, self._guard)
        forget_request(self._mirror, self._run_id)


@contextlib.contextmanager
def pushed(mirror: Mirror, run_id: str, guard: Guard) -> Iterator[None]:
    """Put what changes of a run while the block lasts, and all of it when the block ends.

    Raises:
        StoreError: at the end, where the store is away for too long or refuses.
    """
    pusher = Pusher(mirror, run_id, guard)
    pusher.start()
    try:
        yield
    except BaseException:
        mirror.objects.patience_seconds = min(mirror.objects.patience_seconds, _LAST_SECONDS)
        with contextlib.suppress(InputError):  # the first error is the one to tell
            pusher.finish()
        raise
    pusher.finish()
