"""Which fault comes when: kinds in an order that a seed decides, spread over a run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

KINDS_OF_A_RUN = (
    *("worker SIGSTOP",) * 9,
    *("clock jump",) * 7,
    *("collective aborted",) * 5,
    *("worker SIGKILL",) * 4,
    *("worker SIGSEGV",) * 4,
    *("driver SIGKILL", "driver SIGTERM", "gcs_server SIGKILL", "raylet SIGKILL", "disk full", "RPC faults"),
)
"""The kinds that strike a run in a folder, as often as they are named: those that end the driver take longest."""

KINDS_OF_A_SWEEP = (
    *("S3 503",) * 5,
    *("worker SIGSTOP",) * 4,
    *("S3 away",) * 3,
    *("worker SIGKILL",) * 3,
    *("worker SIGSEGV", "driver SIGKILL", "driver SIGTERM", "raylet SIGKILL", "RPC faults"),
)
"""The kinds that strike a sweep in an object store, as often as they are named."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault that strikes as soon as this step is reached; `seed` decides what the kind leaves open."""

    kind: str
    step: int
    seed: int


def faults(kinds: Sequence[str], count: int, *, steps: int, seed: int) -> list[Fault]:
    """Return `count` faults over the first 95 % of the steps.

    Args:
        kinds: to draw from, as a deck of cards that is shuffled anew when it is used up.
        count: of faults.
        steps: of the whole run.
        seed: of the order.
    """
    rng, deck, drawn = random.Random(seed), list[str](), list[str]()
    while len(drawn) < count:
        if not deck:
            deck = list(kinds)
            rng.shuffle(deck)
        drawn.append(deck.pop())
    return [
        Fault(kind=kind, step=1 + int(0.95 * steps * number / count), seed=rng.randrange(2**31))
        for number, kind in enumerate(drawn)
    ]
