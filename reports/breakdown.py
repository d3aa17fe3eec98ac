"""IoU by object size (figure 6), by sentence length and by kind of expression, with intervals and counts.

The kind of an expression is found by its words, in this order: a location word, a relation, a comparison, else
appearance. It is a rule of thumb for English, good for seeing where a model fails, not an annotation.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.records import RecordError
from reports.labels import in_order, variant_label
from reports.load import Runs
from reports.plots import line_style, where
from reports.run_selection import RunSelection
from reports.stats import Scores, cluster_sums, ratio_scores
from reports.style import light_grid, new_figure, styled
from reports.two_level import compare

SIZE_EDGES_PERCENT = (0, 1, 2, 4, 8, 16, 32, 100)
LENGTH_EDGES_WORDS = (1, 2, 3, 4, 5, 7, 10, 15, 1000)
KIND_WORDS = {
    "location": "left right top bottom middle center centre corner upper lower front back far near first second third "
    "last leftmost rightmost row side edge",
    "relation": "above below under beside behind between next on with of inside near holding wearing around than",
    "comparison": "biggest largest smallest tallest shortest bigger larger smaller small big large tiny huge tall "
    "short darker lighter brightest",
}
_PATTERNS = {kind: re.compile(rf"\b(?:{'|'.join(words.split())})\b") for kind, words in KIND_WORDS.items()}
MOST_LINES = 4
DRAWS = 1000
_SEED = "score of seed "
FEWEST_IMAGES = 5  # a bin of fewer images gets no interval: they do not represent others like them


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Scores of one row per bin: shares; nan where a bin is empty, and no interval where it has too few images."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def kind_of(expression: str) -> str:
    """Return "location", "relation", "comparison" or "appearance"."""
    text = expression.lower()
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.search(text)), "appearance")


def binned(bin_N: np.ndarray, bins: int, image_N: np.ndarray, iou_NS: np.ndarray) -> Bins:
    """Return mean IoU, 95 % interval and count of samples per bin.

    Intervals are over images, and over trainings where there are several (reports/two_level.py).

    Args:
        bin_N: bin of each sample, 0 .. bins - 1.
        bins: number of bins.
        image_N: image of each sample.
        iou_NS: IoU of each sample in each training of a row.
    """
    seeds = iou_NS.shape[1]
    member_NB = (bin_N[:, None] == np.arange(bins)).astype(np.float64)
    above_CK = cluster_sums(image_N, (member_NB[:, :, None] * iou_NS[:, None, :]).reshape(len(image_N), -1))
    below_CB = cluster_sums(image_N, member_NB)
    scores = ratio_scores(above_CK, np.repeat(below_CB, seeds, axis=1), draws=DRAWS, nothing=np.nan)
    low, high = np.full((2, bins), np.nan)
    for place in np.flatnonzero((below_CB > 0).sum(axis=0) >= FEWEST_IMAGES):
        low[place], high[place] = _interval(scores, range(place * seeds, (place + 1) * seeds))
    mean = scores.observed_R.reshape(bins, seeds).mean(axis=1)
    return Bins(mean=mean, low=low, high=high, count=member_NB.sum(axis=0))


def _interval(scores: Scores, columns: range) -> tuple[float, float]:
    """Return the interval of a bin; draws without an image of the bin, which have no score, are left out."""
    draws_DS = scores.draws_DR[:, columns]
    kept = Scores(observed_R=scores.observed_R[columns], draws_DR=draws_DS[np.isfinite(draws_DS).all(axis=1)])
    found = compare(kept, range(len(columns)))
    return found.low, found.high


def shown_variants(choice: RunSelection) -> list[str]:
    """Return the variants drawn: all where they are few, else the best ones by mIoU."""
    means = choice.rows.groupby("variant")["miou"].mean().sort_values(ascending=False)
    return in_order(means.index[:MOST_LINES])


def read_variants(runs: Runs, choice: RunSelection, score: str = "iou") -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the per-sample rows of each shown variant with the score of each of its seeds, and the problems met.

    Args:
        runs: where the rows lie.
        choice: the runs that are shown.
        score: `iou` or `boundary_iou`; in the frames `iou` is its mean over the seeds, with a column per seed
            (`scores_of_seeds`).
    """
    frames: dict[str, pd.DataFrame] = {}
    problems: list[str] = []
    iou = f"{score}_{choice.protocol}"
    for variant in shown_variants(choice):
        found = []
        for run_id in choice.rows.loc[choice.rows["variant"] == variant, "run_id"]:
            try:
                found.append(runs.samples(run_id, choice.split, ["image_id", "expression", "area_ratio", iou]))
            except RecordError as error:
                problems.append(f"figures without {run_id}: {error}")
        if found and len({len(frame) for frame in found}) == 1:
            scores = {f"{_SEED}{number}": frame[iou].to_numpy() for number, frame in enumerate(found)}
            frames[variant] = found[0].assign(iou=np.mean([*scores.values()], axis=0), **scores)
    return frames, problems


def scores_of_seeds(frame: pd.DataFrame) -> np.ndarray:
    """Return the score of each sample in each training (N, S) of a frame of `read_variants`."""
    return frame[[name for name in frame if str(name).startswith(_SEED)]].to_numpy(dtype=np.float64)


def by_size(frames: dict[str, pd.DataFrame], choice: RunSelection, score: str = "IoU") -> Figure | None:
    """Draw IoU, or the score of this name, by the object's share of the image (figure 6 of the paper)."""
    names = ["no target", *(f"{low}–{high}" for low, high in itertools.pairwise(SIZE_EDGES_PERCENT))]
    edges = np.array(SIZE_EDGES_PERCENT[1:-1])
    areas = {v: 100 * frame["area_ratio"].to_numpy() for v, frame in frames.items()}
    binner = {v: np.where(area == 0, 0, 1 + np.digitize(area, edges)) for v, area in areas.items()}
    return draw_bins(
        frames, binner, names, choice, "object size (% of the image)", f"{score} by object size", score=score
    )


def by_length(frames: dict[str, pd.DataFrame], choice: RunSelection) -> Figure | None:
    """Draw IoU by the number of words of the expression."""
    lows, highs = LENGTH_EDGES_WORDS[:-1], LENGTH_EDGES_WORDS[1:]
    names = [str(low) if high == low + 1 else f"{low}–{high - 1}" for low, high in zip(lows, highs, strict=True)]
    names[-1] = f"≥{LENGTH_EDGES_WORDS[-2]}"
    edges = np.array(LENGTH_EDGES_WORDS[1:-1])
    binner = {v: np.digitize([len(text.split()) for text in frame["expression"]], edges) for v, frame in frames.items()}
    return draw_bins(frames, binner, names, choice, "words in the expression", "IoU by sentence length")


def by_kind(frames: dict[str, pd.DataFrame], choice: RunSelection) -> Figure | None:
    """Draw IoU by the kind of the expression, found by its words."""
    names = [*KIND_WORDS, "appearance"]
    binner = {
        v: np.array([names.index(kind_of(text)) for text in frame["expression"]], dtype=np.int64)
        for v, frame in frames.items()
    }
    return draw_bins(frames, binner, names, choice, "kind of expression (by its words)", "IoU by kind", joined=False)


def _sources(frames: dict[str, pd.DataFrame]) -> str:
    """Return what the intervals are over."""
    seeds = sorted({scores_of_seeds(frame).shape[1] for frame in frames.values()})
    if seeds == [1]:
        return "images"
    return f"images and {' or '.join(map(str, seeds))} trainings"


@styled
def draw_bins(
    frames: dict[str, pd.DataFrame],
    binner: dict[str, np.ndarray],
    names: list[str],
    choice: RunSelection,
    label: str,
    title: str,
    joined: bool = True,
    score: str = "IoU",
) -> Figure | None:
    """Draw mean IoU with its interval per bin, a line per variant; `binner` has the bin of each sample."""
    if not frames:
        return None
    figure = new_figure(7.6, 4.6)
    axes = figure.axes[0]
    results = {
        variant: binned(binner[variant], len(names), frame["image_id"].to_numpy(), scores_of_seeds(frame))
        for variant, frame in frames.items()
    }
    count = next(iter(results.values())).count
    kept = np.flatnonzero(count)
    dodge = np.linspace(-0.18, 0.18, len(frames)) if len(frames) > 1 else [0.0]
    for series, (variant, bins) in enumerate(results.items()):
        style = line_style(series) | ({} if joined else {"linestyle": ""})
        x = np.arange(len(kept)) + dodge[series]
        error = 100 * np.stack([bins.mean - bins.low, bins.high - bins.mean])[:, kept]
        axes.errorbar(
            x, 100 * bins.mean[kept], yerr=error, label=variant_label(variant), capsize=3, elinewidth=1, **style
        )
    ticks = [f"{names[position]}\nn={int(count[position]):,}" for position in kept]
    axes.set_xticks(np.arange(len(kept)), ticks, fontsize=9)
    light_grid(axes, "y")
    axes.set_xlabel(f"{label}\nn: samples; intervals over {_sources(frames)}")
    axes.set_ylabel(f"mean {score} (%), 95 % interval")
    axes.set_ylim(bottom=0)
    axes.set_title(f"{title}: {where(choice)}")
    axes.legend(ncols=2)
    return figure
