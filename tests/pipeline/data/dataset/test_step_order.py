"""Groups of a global batch: the same samples whatever the number of workers, each on one of them."""

import random

import pytest

from pipeline.data.dataset.step_order import StepGroups, in_groups

GROUPS = StepGroups(global_batch_size=24, samples=2)


def groups_of(epoch: list[int], world_size: int) -> list[set[frozenset[int]]]:
    """The groups of each step, from what all ranks read in order."""
    share = GROUPS.global_batch_size // world_size
    steps: list[set[frozenset[int]]] = [set() for _ in range(len(epoch) // GROUPS.global_batch_size)]
    for rank in range(world_size):
        own = list(in_groups(epoch[rank::world_size], GROUPS, rank=rank, world_size=world_size))
        for number, groups in enumerate(steps):
            of_step = own[number * share : (number + 1) * share]
            groups |= {frozenset(of_step[start : start + 2]) for start in range(0, share, 2)}
    return steps


@pytest.mark.parametrize("world_size", [2, 3, 4, 6, 12])
def test_any_number_of_workers_has_the_groups_of_one(world_size: int) -> None:
    epoch = list(range(60))
    random.Random(0).shuffle(epoch)
    epoch = epoch[: len(epoch) // world_size * world_size]  # as DistributedSampler leaves them out
    steps = groups_of(epoch, world_size)
    assert steps == groups_of(epoch, 1)
    for number, groups in enumerate(steps):
        assert set().union(*groups) == set(epoch[number * 24 : (number + 1) * 24]), "a step has its own samples"
        assert len(groups) == GROUPS.count


def test_samples_after_the_last_whole_step_stay_in_order() -> None:
    assert list(in_groups(range(30), GROUPS, rank=0, world_size=1))[24:] == [24, 25, 26, 27, 28, 29]
