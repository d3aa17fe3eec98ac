"""Run lengths without decoding give what pycocotools gives on decoded masks, and nothing damaged reaches its C code."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.masks import MaskError, encode_mask
from pipeline.data.run_lengths import counts_of_runs, filled_counts, mask_overlap
from tests.pipeline.data.run_lengths import compressed, run_lengths


def random_mask(generator: np.random.Generator) -> np.ndarray:
    height, width = (int(side) for side in generator.integers(1, 9, 2))
    mask = (generator.random((height, width)) < generator.random()).astype(np.uint8)
    return np.kron(mask, np.ones((7, 90), np.uint8)) if generator.random() < 0.3 else mask


def with_empty_runs(runs: list[int], generator: np.random.Generator) -> list[int]:
    """Return the same mask with runs of no pixels, as some writers have them."""
    for _ in range(3):
        place = int(generator.integers(0, len(runs)))
        first = int(generator.integers(0, runs[place] + 1))
        runs[place : place + 1] = [first, 0, runs[place] - first]
    return runs


def test_counts_are_canonical_and_overlaps_exact() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        mask = random_mask(generator)
        size = {"height": mask.shape[0], "width": mask.shape[1]}
        other = (generator.random(mask.shape) < 0.5).astype(np.uint8)
        counts = encode_mask(mask)
        assert filled_counts(counts, **size) == counts
        loose = with_empty_runs(run_lengths(mask), generator)
        assert counts_of_runs(loose, **size) == counts
        assert mask_overlap(counts, encode_mask(other), **size) == int((mask & other).sum())


@pytest.mark.parametrize(
    "counts",
    [
        b"",
        b"o",  # announces a letter that does not follow
        b"\x00\xff",
        compressed([3, 4]),  # too few pixels
        compressed([3, 40]),
        compressed([20, -8]),
        compressed([2**34 - 1, 13]),
        b"0" * 10**6,
    ],
)
def test_damaged_counts_are_refused(counts: bytes) -> None:
    with pytest.raises(MaskError):
        filled_counts(counts, height=3, width=4)


def test_many_empty_runs_are_joined_before_they_reach_c() -> None:
    counts = compressed([0, 0] * 5000 + [5, 7])
    assert filled_counts(counts, height=3, width=4) == compressed([5, 7])
