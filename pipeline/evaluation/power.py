"""Which difference of two rows a sweep can show, and how many seeds and images a wished one needs.

The error of a difference has a part over images (paired: both rows score the same ones, and all expressions of an image
count as one draw) and a part over trainings. A difference is visible where a two-sided test at 5 % finds it with 80 %
power: (q(0.975) + q(0.8)) times the error (Bloom 1995, "Minimum detectable effects"; for language models Card et al.
2020, "With little power comes great responsibility"). One comparison: Holm's correction asks for more.

Array names: N samples, C images (clusters), R runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
POWER = 0.8
IMAGE_DEGREES = 100.0
"""Degrees of freedom of a variance over images; from some dozens on they change nothing that is printed."""
MOST_SEEDS = 50
MOST_IMAGES = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How much the difference of two rows varies, all as shares (0.01: a point).

    Attributes:
        image: deviation of the difference of two trainings per image; over C images it is divided by sqrt(C).
        crossed: the part of `image` that another seed draws again (seed x image).
        training: deviation of one row's score between trainings; None where one seed was run.
        source: where the numbers come from, in words.
    """

    image: float
    crossed: float = 0.0
    training: float | None = None
    source: str

    def visible(self, *, images: int, seeds: int) -> float:
        """Return the smallest visible difference; one seed shows what trainings vary to nobody, so it is left out."""
        over_images = (self.image**2 - self.crossed**2 * (1 - 1 / seeds)) / images
        of_row = (self.training or 0.0) ** 2 / seeds if seeds > 1 else 0.0
        trainings = [(of_row, seeds)] * 2 if of_row else []
        factor = sum(quantile(share, over_images, trainings) for share in ((1 + LEVEL) / 2, POWER))
        return float(factor * (over_images + 2 * of_row) ** 0.5)

    def seeds_for(self, difference: float, *, images: int) -> int | None:
        """Return how many seeds, at least 2, show a difference with this many images; None above MOST_SEEDS."""
        counts = range(2, MOST_SEEDS + 1)
        return next((seeds for seeds in counts if self.visible(images=images, seeds=seeds) <= difference), None)

    def images_for(self, difference: float, *, seeds: int) -> int | None:
        """Return how many images show a difference with this many seeds; None where no number does."""
        low, high = 1, MOST_IMAGES
        if self.visible(images=high, seeds=seeds) > difference:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.visible(images=middle, seeds=seeds) <= difference else (middle + 1, high)
        return low

    def both_for(self, difference: float) -> tuple[int, int] | None:
        """Return the seeds and images that show a difference with the fewest images times seeds, None where none do."""
        found = [
            (seeds, images)
            for seeds in range(2, MOST_SEEDS + 1)
            if (images := self.images_for(difference, seeds=seeds))
        ]
        return min(found, key=lambda pair: pair[0] * pair[1], default=None)

    def needs(self, difference: float, *, images: int, seeds: int) -> str:
        """Return in words what a wished difference needs: more seeds, more images, or both."""
        more_seeds = self.seeds_for(difference, images=images)
        more_images = self.images_for(difference, seeds=seeds) if seeds > 1 else None
        ways = [
            f"{more_seeds} seeds with {images:,} images" if more_seeds else "",
            f"{more_images:,} images with {seeds} seeds" if more_images else "",
        ]
        both = None if any(ways) else self.both_for(difference)
        if both is not None:
            return f"{both[0]} seeds and {both[1]:,} images"
        return " or ".join(filter(None, ways)) or f"more than {MOST_SEEDS} seeds and {MOST_IMAGES:,} images"


ASSUMED = Variation(
    image=0.10,
    crossed=0.08,
    training=0.005,
    source="assumed: 10 points per image, 0.5 points between trainings; no two rows with records here",
)
"""What is taken where nothing was measured: tiny runs on synthetic images have 6 to 7 points per image, and real images
vary more. `--training-deviation` of `sweeps plan` replaces the variation between trainings."""


def quantile(share: float, images: float, trainings: Sequence[tuple[float, int]]) -> float:
    """Return the quantile that an error of two parts is multiplied with (Cochran and Cox 1957, section 4.14).

    It is the mean of both parts' t quantiles, weighted by their variances: the part of few seeds is known badly.

    Args:
        share: below the quantile, 0.975 for a 95 % interval.
        images: variance over images.
        trainings: variance over trainings and number of seeds, of each row; Welch's degrees where they differ.
    """
    training = sum(part for part, _ in trainings)
    of_images = float(stdtrit(IMAGE_DEGREES, share))
    if training <= 0.0:
        return of_images
    degrees = training**2 / sum(part**2 / (count - 1) for part, count in trainings if part)
    return (training * float(stdtrit(degrees, share)) + images * of_images) / (training + images)


def influence(image_N: np.ndarray, above_NR: np.ndarray, below_NR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much each image moves the score of each run (C, R), and the variance over sentences of an image (R,).

    The sum of squares over images is the variance of a score over images (linearized, so it holds for oIoU too).

    Args:
        image_N: image of each sample.
        above_NR: what each sample adds above the fraction bar of a metric.
        below_NR: and below it; one column where all runs share it.
    """
    total_R = np.maximum(below_NR.sum(axis=0), 1e-12)
    moved_NR = (above_NR - above_NR.sum(axis=0) / total_R * below_NR) / total_R
    images_C, position_N = np.unique(image_N, return_inverse=True)
    count_C = np.bincount(position_N)
    moved_CR = np.stack([np.bincount(position_N, weights=column) for column in moved_NR.T], axis=1)
    within_NR = moved_NR - (moved_CR / count_C[:, None])[position_N]
    spare = len(image_N) - len(images_C)  # without a second sentence of an image nothing is known of sentences
    sentence_R = len(image_N) * (within_NR**2).sum(axis=0) / spare if spare else np.full(moved_NR.shape[1], np.nan)
    return moved_CR * (len(images_C) / max(1, len(images_C) - 1)) ** 0.5, sentence_R


def measure(moved_CR: np.ndarray, score_R: np.ndarray, rows: Sequence[Sequence[int]], source: str) -> Variation | None:
    """Return the variation between rows, the mean over all pairs of them; None for less than two rows.

    Args:
        moved_CR: of `influence`.
        score_R: score of each run.
        rows: columns of the seeds of each row.
        source: of the numbers, in words.
    """
    rows = [list(row) for row in rows if row]
    if len(rows) < 2:
        return None
    images = len(moved_CR)
    pairs = [
        ((moved_CR[:, this] - moved_CR[:, that]) ** 2).sum()
        for these, those in itertools.combinations(rows, 2)
        for this, that in zip(these, those, strict=False)
    ]
    several = [row for row in rows if len(row) > 1]
    crossed = [moved_CR[:, row].var(axis=1, ddof=1).sum() for row in several]
    trained = [score_R[row].var(ddof=1) - part for row, part in zip(several, crossed, strict=True)]
    return Variation(
        image=float((images * np.mean(pairs)) ** 0.5),
        crossed=float(min(np.mean(pairs), 2 * np.mean(crossed)) * images) ** 0.5 if several else 0.0,
        training=float(max(0.0, np.mean(trained))) ** 0.5 if several else None,
        source=source,
    )
