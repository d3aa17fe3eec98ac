"""The order of a worker's samples within an optimizer step: whole groups one after the other.

The global batch is G consecutive samples of the epoch, and rank r of N workers has those at the positions r, r + N, ...
Group i holds the positions i, i + S, i + 2 S, ... of S = G / (samples of a group): where N divides S, a group is all on
one worker, whatever N is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepGroups:
    """How a global batch is cut into groups.

    Attributes:
        global_batch_size: samples of a step over all workers.
        samples: of a group; divides the global batch.
    """

    global_batch_size: int
    samples: int

    @property
    def count(self) -> int:
        """Groups of a global batch; the number of workers divides it."""
        return self.global_batch_size // self.samples


def in_groups(indices: Sequence[int], groups: StepGroups, *, rank: int, world_size: int) -> Iterator[int]:
    """Yield one rank's samples of an epoch, each whole step's in order of their groups; what is over stays as it is.

    Args:
        indices: of the samples, in the order of the epoch.
        groups: of the global batch.
        rank: of this worker.
        world_size: number of workers.
    """
    share = groups.global_batch_size // world_size
    whole = len(indices) - len(indices) % share
    order = sorted(range(share), key=lambda place: (rank + world_size * place) % groups.count)
    for start in range(0, whole, share):
        yield from (indices[start + place] for place in order)
    yield from indices[whole:]
