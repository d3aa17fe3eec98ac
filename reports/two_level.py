"""Intervals and p values over trainings (seeds) and images together: two-way variance, Cochran and Cox's quantile.

A score varies with the training and with the images. Seeds and images are crossed (each seed scores every image), for
which no resampling of both is exact (McCullagh 2000, "Resampling and exchangeable arrays"), and drawing three seeds
with replacement gives two thirds of their variance. So the variance of a mean over S seeds is put together from parts,
as two-way clustering does (Cameron, Gelbach and Miller 2011, "Robust inference with multiway clustering"):

    V = B + T,  T = max(0, A - C)    A: of the seeds' scores, / S      B: of the mean score over drawn images
                                     C: what A and B both hold (seed x image), from the draws of single seeds

B and C come from the same draws of images as all other statistics, so they hold for oIoU, a ratio of sums. With three
seeds T is known badly and B well. The quantile is the mean of both parts' t quantiles, weighted by T and B (Cochran and
Cox 1957, section 4.14; Cochran 1964), with Welch's degrees of freedom where two rows differ in T. One Satterthwaite
t for V covered 92 % where trainings vary most. `tests/reports/test_two_level.py` measures the coverage.

Array names: D draws, S seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.power import quantile
from reports.stats import LEVEL, Difference, Scores, difference

_HALVINGS = 50  # of the interval that holds a p value


@dataclass(frozen=True, kw_only=True)
class Variance:
    """Variance of a mean over seeds, in its parts (shares squared); `seeds` and `shared` are A and C of this file."""

    count: int
    seeds: float
    images: float
    shared: float

    @property
    def training(self) -> float:
        """What the trainings add to the images' variance."""
        return max(0.0, self.seeds - self.shared)


def variance_of(observed_S: np.ndarray, draws_DS: np.ndarray) -> Variance:
    """Return the parts of the variance of a mean over seeds; without a second seed only the images' part is known."""
    count = len(observed_S)
    mean_D = draws_DS.mean(axis=1)
    images = float(mean_D.var(ddof=1))
    if count < 2:
        return Variance(count=count, seeds=0.0, images=images, shared=0.0)
    apart = float((draws_DS - mean_D[:, None]).var(axis=0, ddof=1).mean())  # S - 1 of S parts of one seed's own
    return Variance(count=count, seeds=float(observed_S.var(ddof=1)) / count, images=images, shared=apart / (count - 1))


def compare(scores: Scores, these: Sequence[int], those: Sequence[int] = (), level: float = LEVEL) -> Difference:
    """Return the mean of some runs (the seeds of a row) minus that of others, with interval and p value.

    Seeds of two rows count as independent: they share no more than the order of the data. Without `those` it is the
    score of a row itself. Where a side has one seed the variation between trainings is not known, and the percentile
    interval over images is returned.

    Args:
        scores: of the runs, with their draws of images.
        these: columns of one row's seeds.
        those: columns of the other's.
        level: of the interval.
    """
    sides = [list(side) for side in (these, those) if side]
    if any(len(side) < 2 for side in sides):
        return _over_images(scores, sides, level)
    means = [float(scores.observed_R[side].mean()) for side in sides]
    observed = means[0] - sum(means[1:])
    parts = [variance_of(scores.observed_R[side], scores.draws_DR[:, side]) for side in sides]
    first_D, *other_D = (scores.draws_DR[:, side].mean(axis=1) for side in sides)
    draws_D = first_D - sum(other_D)
    images = float(draws_D.var(ddof=1))
    trainings = [(part.training, part.count) for part in parts]
    error = (images + sum(training for training, _ in trainings)) ** 0.5
    half = error * quantile((1 + level) / 2, images, trainings)
    p_value = _p_value(abs(observed) / error, images, trainings) if error else float(observed == 0.0)
    return Difference(observed=observed, low=observed - half, high=observed + half, p_value=p_value)


def _p_value(ratio: float, images: float, trainings: Sequence[tuple[float, int]]) -> float:
    """Return the two-sided p value whose quantile is the ratio of a difference to its error, by halving."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_beyond = quantile(1 - middle / 2, images, trainings) > ratio if middle > 1e-12 else True
        low, high = (middle, high) if is_beyond else (low, middle)
    return high


def _over_images(scores: Scores, sides: list[list[int]], level: float) -> Difference:
    if len(sides) == 2:
        return difference(scores, sides[0], sides[1], level)
    draws_D = scores.draws_DR[:, sides[0]].mean(axis=1)
    low, high = np.quantile(draws_D, [(1 - level) / 2, (1 + level) / 2])
    return Difference(observed=float(scores.observed_R[sides[0]].mean()), low=float(low), high=float(high), p_value=1.0)
