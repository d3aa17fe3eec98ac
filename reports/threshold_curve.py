"""oIoU and mIoU over the binarization threshold, with 95 % bands, and what the runs' own threshold loses.

The best threshold is chosen on the samples that it is scored on, so its gain is what a choice on other samples would
reach at most. Array names: N samples, T thresholds, S seeds of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.metrics import iou
from pipeline.evaluation.threshold_counts import threshold_schema, thresholds_path
from pipeline.records import RecordError, read_columns
from reports.breakdown import shown_variants
from reports.json_text import section_of
from reports.labels import variant_label
from reports.load import Runs
from reports.plots import line_style, where
from reports.run_selection import RunSelection
from reports.stats import Difference, Scores, cluster_sums, ratio_scores
from reports.style import MUTED, new_figure, styled
from reports.two_level import compare

DRAWS = 1000
HEADINGS = ("oIoU", "mIoU")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric of a row over the threshold.

    Attributes:
        thresholds: in rising order.
        levels: the score at each of them, with its interval.
        own: threshold of the runs.
        best: threshold with the best score; of equal ones the nearest to `own`.
        gain: score at `best` minus score at `own`, with its interval.
    """

    thresholds: tuple[float, ...]
    levels: tuple[Difference, ...]
    own: float
    best: float
    gain: Difference


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts of the trainings of a row: intersections and unions [N, T, S]."""

    thresholds: tuple[float, ...]
    image_N: np.ndarray
    intersection_NTS: np.ndarray
    union_NTS: np.ndarray


def curves_of(counts: Counts, own: float) -> dict[str, Curve]:
    """Return the curve of each of HEADINGS; every threshold and seed sees the same draws of images."""
    flat = (len(counts.image_N), -1)
    above, below = (each.reshape(flat).astype(np.float64) for each in (counts.intersection_NTS, counts.union_NTS))
    sums_CK = cluster_sums(counts.image_N, np.concatenate([above, below, iou(above, below)], axis=1))
    count_CK = cluster_sums(counts.image_N, np.ones((len(counts.image_N), 1)))
    above_CK, below_CK, iou_CK = np.split(sums_CK, 3, axis=1)
    of_metric = (ratio_scores(above_CK, below_CK, draws=DRAWS), ratio_scores(iou_CK, count_CK, draws=DRAWS))
    return {name: _curve(scores, counts.thresholds, own) for name, scores in zip(HEADINGS, of_metric, strict=True)}


def _curve(scores: Scores, thresholds: tuple[float, ...], own: float) -> Curve:
    seeds = len(scores.observed_R) // len(thresholds)
    columns = [range(place * seeds, (place + 1) * seeds) for place in range(len(thresholds))]
    levels = tuple(compare(scores, each) for each in columns)
    at_own = thresholds.index(own)
    best = max(range(len(thresholds)), key=lambda place: (levels[place].observed, -abs(place - at_own)))
    # Of one training each, so that what a training adds to both scores cancels.
    gain = Scores(
        observed_R=scores.observed_R[columns[best]] - scores.observed_R[columns[at_own]],
        draws_DR=scores.draws_DR[:, columns[best]] - scores.draws_DR[:, columns[at_own]],
    )
    return Curve(thresholds=thresholds, levels=levels, own=own, best=thresholds[best], gain=compare(gain, range(seeds)))


def read_curves(runs: Runs, choice: RunSelection, problems: list[str]) -> dict[str, dict[str, Curve]]:
    """Return the curves of each shown variant; a run whose counts are damaged is left out and named in `problems`."""
    found: dict[str, dict[str, Curve]] = {}
    for variant in shown_variants(choice) if len(choice.rows) else []:
        rows = choice.rows[choice.rows["variant"] == variant]
        paths = {run_id: thresholds_path(runs.root, run_id, choice.split) for run_id in rows["run_id"]}
        frames = []
        for run_id, path in paths.items():
            try:
                frames += [_read(path, choice.protocol)] if path.exists() else []
            except RecordError as error:
                problems.append(f"threshold curve without {run_id}: {error}")
        own = section_of(rows.iloc[0]["config_json"], "evaluation").get("threshold")
        counts = _joined(frames)
        if counts is not None and own in counts.thresholds:
            found[variant] = curves_of(counts, own)
    return found


def _read(path: Path, protocol: str) -> pd.DataFrame:
    columns = {"above": f"intersection_{protocol}", "below": f"union_{protocol}"}
    rows = read_columns(path, threshold_schema(), ["image_id", "threshold", *columns.values()])
    rows = rows.rename(columns={name: kind for kind, name in columns.items()})
    return rows.sort_values(["threshold", "index"], ignore_index=True)


def _joined(frames: list[pd.DataFrame]) -> Counts | None:
    """Return the counts of the trainings that have the samples and thresholds of the first."""
    frames = [frame for frame in frames if frame[["above", "below"]].notna().all(axis=None) and len(frame)]
    if not frames:
        return None
    keys = frames[0][["threshold", "index", "image_id"]]
    frames = [frame for frame in frames if frame[keys.columns.to_list()].equals(keys)]
    thresholds = tuple(float(each) for each in keys["threshold"].unique())
    above, below = (
        np.stack([frame[kind].to_numpy(np.int64).reshape(len(thresholds), -1).T for frame in frames], axis=2)
        for kind in ("above", "below")
    )
    image_N = keys["image_id"].to_numpy()[: len(above)]
    return Counts(thresholds=thresholds, image_N=image_N, intersection_NTS=above, union_NTS=below)


@styled
def draw_curves(found: dict[str, dict[str, Curve]], choice: RunSelection) -> Figure | None:
    """Draw a panel per metric, with a line and a band per variant; the legend has the best threshold and its gain."""
    if not found:
        return None
    figure = new_figure(9.6, 4.6, columns=2)
    for axes, heading in zip(figure.axes, HEADINGS, strict=True):
        _panel(axes, {variant: curves[heading] for variant, curves in found.items()}, heading)
    figure.suptitle(f"Score over threshold: {where(choice)}", x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    return figure


def _panel(axes: Axes, curves: dict[str, Curve], heading: str) -> None:
    for series, (variant, curve) in enumerate(curves.items()):
        style = line_style(series)
        scores, low, high = (
            [100 * getattr(each, side) for each in curve.levels] for side in ("observed", "low", "high")
        )
        axes.plot(curve.thresholds, scores, label=_label(variant, curve), **style | {"marker": ""})
        axes.fill_between(curve.thresholds, low, high, color=style["color"], alpha=0.13, linewidth=0)
        at_best = scores[curve.thresholds.index(curve.best)]
        axes.plot([curve.best], [at_best], linestyle="", **{k: v for k, v in style.items() if k != "linestyle"})
    owns = sorted({curve.own for curve in curves.values()})
    for own in owns:
        axes.axvline(own, color=MUTED, linewidth=1.0, linestyle=(0, (3, 2)))
    axes.set_xlim(0.05, 0.95)
    axes.set_xlabel(f"threshold (dashed: the runs' own, {', '.join(f'{each:g}' for each in owns)})")
    axes.set_ylabel(f"{heading} (%), 95 % band")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8.5)


def _label(variant: str, curve: Curve) -> str:
    if curve.best == curve.own:
        return f"{variant_label(variant)}: best at its own {curve.own:g}"
    gain, low, high = (100 * value for value in (curve.gain.observed, curve.gain.low, curve.gain.high))
    numbers = f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "−")
    return f"{variant_label(variant)}: best at {curve.best:g}, {numbers}"
