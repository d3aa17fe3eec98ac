"""Paired bootstrap over samples clustered by image, for mIoU and for oIoU (a ratio of sums), and Holm's correction.

An image carries several expressions, so samples are not independent: whole images are drawn, with replacement. Both
runs of a comparison see the same draws (paired). The draws of one split are shared by all comparisons on it, and all of
it is matrix products: draws x images times images x (sums of the runs).

Array names: D draws, C images (clusters), R runs, N samples. Methods and their limits: docs/results.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS = 4000
LEVEL = 0.95
_CHUNK_ENTRIES = 4_000_000  # of the draw matrix at a time: 32 MiB of float64


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Resampled scores of R runs on one split, as shares: `observed_R` and `draws_DR`."""

    observed_R: np.ndarray
    draws_DR: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of two scores (shares): observed, 95 % interval, two-sided p value."""

    observed: float
    low: float
    high: float
    p_value: float


def cluster_sums(image_N: np.ndarray, values_NK: np.ndarray) -> np.ndarray:
    """Return the sums of each column over each image, images in rising order: shape (C, K)."""
    images_C, position_N = np.unique(image_N, return_inverse=True)
    columns = [np.bincount(position_N, weights=column, minlength=len(images_C)) for column in values_NK.T]
    return np.stack(columns, axis=1)


def draw_counts(clusters: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each image occurs in each draw of `clusters` images with replacement: (draws, clusters)."""
    generator = np.random.default_rng(seed)
    picked_DC = generator.integers(0, clusters, (draws, clusters))
    picked_DC += clusters * np.arange(draws)[:, None]
    return np.bincount(picked_DC.ravel(), minlength=draws * clusters).reshape(draws, clusters)


def resample(sums_CK: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return the column sums under each draw of images, shape (D, K); the same seed and C give the same draws."""
    clusters = len(sums_CK)
    step = max(1, _CHUNK_ENTRIES // max(1, clusters))
    parts = []
    for number, start in enumerate(range(0, draws, step)):
        counts_DC = draw_counts(clusters, min(step, draws - start), seed + 7919 * number)
        parts.append(counts_DC.astype(np.float64) @ sums_CK)
    return np.concatenate(parts)


def ratio_scores(
    numerator_CR: np.ndarray,
    denominator_CR: np.ndarray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    nothing: float = 1.0,
) -> Scores:
    """Return observed and resampled ratios of sums: oIoU from intersections and unions, mIoU from IoUs and counts.

    Args:
        numerator_CR: sums per image and run.
        denominator_CR: the same; one column serves all runs where they share it (the count of samples).
        draws: of the bootstrap.
        seed: of the draws.
        nothing: what 0 / 0 is: 1 for all masks empty, as the IoU of two empty masks is; nan for a mean over nobody.
    """
    runs = numerator_CR.shape[1]
    sums_DK = resample(np.concatenate([numerator_CR, denominator_CR], axis=1), draws=draws, seed=seed)
    below_R = denominator_CR.sum(axis=0)
    return Scores(
        observed_R=_divide(numerator_CR.sum(axis=0), np.broadcast_to(below_R, runs), nothing),
        draws_DR=_divide(sums_DK[:, :runs], np.broadcast_to(sums_DK[:, runs:], (draws, runs)), nothing),
    )


def _divide(above: np.ndarray, below: np.ndarray, nothing: float) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), nothing), where=below > 0)


def difference(scores: Scores, these: list[int], those: list[int], level: float = LEVEL) -> Difference:
    """Return the mean score of some runs (the seeds of a variant) minus that of others, with its percentile interval.

    The p value is twice the smaller share of draws on the far side of 0, the draw that was observed included.
    """
    observed = float(scores.observed_R[these].mean() - scores.observed_R[those].mean())
    draws_D = scores.draws_DR[:, these].mean(axis=1) - scores.draws_DR[:, those].mean(axis=1)
    low, high = np.quantile(draws_D, [(1 - level) / 2, (1 + level) / 2])
    below, above = np.count_nonzero(draws_D <= 0), np.count_nonzero(draws_D >= 0)
    p_value = min(1.0, 2.0 * (min(below, above) + 1) / (len(draws_D) + 1))
    return Difference(observed=observed, low=float(low), high=float(high), p_value=p_value)


def interval(scores: Scores, run: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of one run's score."""
    low, high = np.quantile(scores.draws_DR[:, run], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(p_values: list[float]) -> list[float]:
    """Return the p values corrected for the number of comparisons made together (Holm 1979), in the same order."""
    count = len(p_values)
    adjusted = [1.0] * count
    highest = 0.0
    for rank, position in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (count - rank) * p_values[position]))
        adjusted[position] = highest
    return adjusted
