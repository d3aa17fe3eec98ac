"""The same masks for every public evaluator, from a seed, and their counts.

| set | what is in it |
|---|---|
| targets | every expression has a target; IoU exactly 0, 0.5, 0.6, 0.7, 0.8, 0.9 and 1; empty predictions |
| mixed | refs with several sentences, with and without a target: both empty, one of both empty, exact IoUs |
| large | masks of 1.6 million pixels, whose sums are above 2**24, where float32 drops ones |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.public_evaluators.counts import MaskCounts

SETS = {"targets": 11, "mixed": 23, "large": 37}
"""Name -> seed."""

EXACT = ((0, 10), (1, 2), (3, 5), (7, 10), (4, 5), (9, 10), (1, 1))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One expression: bool masks [H, W] of one size, and the answer of a no-target head, which may contradict its mask.

    Samples of an image stand together, and so do those of a ref.
    """

    predicted: np.ndarray
    target: np.ndarray
    image_id: int
    ref_id: int
    confidence: float
    says_no_target: bool

    @property
    def no_target(self) -> bool:
        """Whether the expression has no target."""
        return not self.target.any()


def make_masks(name: str) -> list[Sample]:
    """Return the samples of a set."""
    random = np.random.default_rng(SETS[name])
    if name == "large":
        return [_sample(*_rectangles(random, 1100, 1500), image_id=i, ref_id=i, random=random) for i in range(40)]
    samples: list[Sample] = []
    for image in range(14):
        height, width = (int(side) for side in random.integers(24, 72, size=2))
        for ref in range(int(random.integers(1, 4))):
            pairs = _pairs(random, height, width, start=len(samples), absent=name == "mixed")
            samples += [_sample(*pair, image_id=image, ref_id=10 * image + ref, random=random) for pair in pairs]
    return samples


def _sample(
    predicted: np.ndarray, target: np.ndarray, *, image_id: int, ref_id: int, random: np.random.Generator
) -> Sample:
    confidence = round(float(random.uniform(0.2, 1.0)), 3)
    return Sample(
        predicted=predicted,
        target=target,
        image_id=image_id,
        ref_id=ref_id,
        confidence=confidence,
        says_no_target=bool(random.random() < (0.1 if predicted.any() else 0.9)),
    )


def _pairs(
    random: np.random.Generator, height: int, width: int, *, start: int, absent: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the masks of one ref: one true mask for the sentences about it; none for those of something absent."""
    nothing = np.zeros((height, width), dtype=bool)
    above, below = EXACT[start % len(EXACT)]
    target = nothing.copy()
    target.ravel()[3 : 3 + 10 * below] = True
    exact = nothing.copy()
    exact.ravel()[3 : 3 + 10 * above] = True
    pairs = [(exact, target)]
    for _ in range(int(random.integers(0, 3))):
        pairs.append((target ^ (random.random((height, width)) < random.uniform(0.0, 0.03)), target))
    if start % 5 == 0:
        pairs.append((nothing, target))
    if absent:
        pairs.append((nothing, nothing))
        for _ in range(int(random.integers(0, 3))):
            pairs.append((random.random((height, width)) < random.choice([0.0, 0.1]), nothing))
    return pairs


def _rectangles(random: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    masks = []
    for _ in range(2):
        mask = np.zeros((height, width), dtype=bool)
        top, left = random.integers(0, 200, size=2)
        rows, columns = random.integers(600, 900), random.integers(800, 1200)
        mask[top : top + rows, left : left + columns] = True
        masks.append(mask)
    return masks[0], masks[1]


def digest(samples: list[Sample]) -> str:
    """Return a digest of every mask, so that a golden file is compared with the masks that it was made from."""
    found = hashlib.sha256()
    for sample in samples:
        facts = (sample.image_id, sample.ref_id, sample.confidence, sample.says_no_target)
        found.update(repr((sample.predicted.shape, *facts)).encode())
        found.update(np.packbits(sample.predicted).tobytes() + np.packbits(sample.target).tobytes())
    return found.hexdigest()


def counts_of_masks(samples: list[Sample]) -> MaskCounts:
    """Return the counts. At the network's input size, every mask is twice as high and wide."""
    return MaskCounts(
        intersection=np.array([np.count_nonzero(each.predicted & each.target) for each in samples], dtype=np.int64),
        union=np.array([np.count_nonzero(each.predicted | each.target) for each in samples], dtype=np.int64),
        target_area=np.array([np.count_nonzero(each.target) for each in samples], dtype=np.int64),
        confidence=np.array([each.confidence for each in samples]),
        predicted_no_target=np.array([each.says_no_target for each in samples]),
        image_ids=np.array([each.image_id for each in samples], dtype=np.int64),
        ref_ids=np.array([each.ref_id for each in samples], dtype=np.int64),
        no_target=np.array([each.no_target for each in samples]),
        area_at_input=np.array([4 * np.count_nonzero(each.predicted) for each in samples], dtype=np.int64),
    )
