"""Scores against cost: a point per row, its area the parameters, and the front of rows that no other row beats.

Scores are in percent, costs in GMACs (10^9 multiply-accumulates) and millions of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, ScalarFormatter

from pipeline.evaluation.metrics import METRICS, Metric, metrics_of
from pipeline.published.tables import number
from reports.bootstrap_samples import Resampled
from reports.cost_cells import CostBook
from reports.labels import variant_label
from reports.plots import by_variant, where
from reports.row_scores import interval
from reports.run_selection import RunSelection
from reports.style import INK, MUTED, SERIES, new_figure, styled
from reports.tables import Built

AREA = 1.4
"""Square points of a marker per million parameters."""
SIZE_KEY_STEPS = (1, 2, 5)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row: what it costs and what it scores."""

    label: str
    gmacs: float
    score: float
    params: float
    is_ours: bool
    ends: tuple[float, float] | None = None  # of the score's 95 % interval


@styled
def pareto(
    published: pd.DataFrame, choice: RunSelection, costs: CostBook, resampled: Sequence[Resampled] = ()
) -> Figure:
    """Draw oIoU against GMACs; published hollow, ours filled.

    The paper's scores and ours have a panel each unless both were taken on the paper's data.
    """
    theirs = [each for _, row in published.iterrows() if (each := _published_point(row)) is not None]
    ours = [
        Point(
            label=variant_label(variant),
            gmacs=cost.gmacs,
            score=100 * rows["oiou"].mean(),
            params=cost.million_params,
            is_ours=True,
            ends=_ends(choice, resampled, METRICS["oiou"], variant),
        )
        for variant, rows in by_variant(choice)
        if (cost := costs.cell("total", "base", variant)) is not None
    ]
    figure = new_figure(9.2, 4.5, columns=2)
    left, right = figure.axes
    left.set_title("Published: RefCOCO+ val")
    _draw(left, [*theirs, *(ours if choice.is_published_data else [])])
    right.set_title("Here: nothing run" if not ours else f"Here: {choice.split}, {choice.scale}")
    if choice.is_published_data or not ours:
        reason = "in the left panel: taken on the paper's data" if ours else "not run"
        right.text(0.5, 0.5, reason, transform=right.transAxes, ha="center", color=MUTED)
        right.set_axis_off()
    else:
        _draw(right, ours)
    for axes in figure.axes:
        axes.set_xlabel("GMACs at the paper's scale")
        axes.set_ylabel("oIoU (%)")
    left.set_xscale("log")
    left.set_xlabel("GMACs at the paper's scale (log)")
    left.xaxis.set_major_formatter(ScalarFormatter())
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_xticks([150, 300, 600, 1200])
    _key(figure, [*theirs, *ours])
    return figure


@styled
def sweep_pareto(built: Built, resampled: Resampled | None = None) -> Figure | None:
    """Draw each main score of a sweep's rows against their GMACs at the scale of the runs, mean over seeds."""
    rows = built.choice.rows.dropna(subset="gmacs") if len(built.choice.rows) else built.choice.rows
    metrics = [metric for metric in metrics_of("main") if metric.name in rows and rows[metric.name].notna().any()]
    if rows.empty or not metrics:
        return None
    figure = new_figure(4.6 * len(metrics), 4.2, columns=len(metrics))
    points: list[Point] = []
    for axes, metric in zip(figure.axes, metrics, strict=True):
        points = []
        for variant, of_row in rows.groupby("variant", sort=False):
            gmacs, score, params = (float(of_row[name].mean()) for name in ("gmacs", metric.name, "million_params"))
            points.append(
                Point(
                    label=str(variant),
                    gmacs=gmacs,
                    score=metric.factor * score,
                    params=params,
                    is_ours=True,
                    ends=_ends(built.choice, [resampled] if resampled else [], metric, str(variant)),
                )
            )
        _draw(axes, points, higher_is_better=metric.better != "min")
        axes.set_xlabel(f"GMACs at the {built.choice.scale} scale")
        axes.set_ylabel(f"{metric.heading} ({metric.unit})" if metric.unit else metric.heading)
    _key(figure, points)
    figure.suptitle(f"{built.table.title}: {where(built.choice)}", x=0.01, ha="left", fontsize=11.5, color=INK)
    return figure


def _ends(
    choice: RunSelection, resampled: Sequence[Resampled], metric: Metric, variant: str
) -> tuple[float, float] | None:
    found = (interval(choice, each, metric.name, variant) for each in resampled)
    ends = next((each for each in found if each is not None), None)
    return None if ends is None else (metric.factor * ends[0], metric.factor * ends[1])


def front(points: list[Point], *, higher_is_better: bool = True) -> list[Point]:
    """Return the points that no other beats in both cost and score, from the cheapest on."""
    sign = 1 if higher_is_better else -1
    found: list[Point] = []
    for point in sorted(points, key=lambda each: (each.gmacs, -sign * each.score)):
        if not found or sign * point.score > sign * found[-1].score:
            found.append(point)
    return found


def _published_point(row: pd.Series) -> Point | None:
    gmacs, score, params = (number(row[heading]) for heading in ("GFLOPs", "oIoU", "Params"))
    if gmacs is None or score is None or params is None:
        return None
    label = f"{row['method']}, {row['Backbones']}" if "Ours" not in row["method"] else "Shared-RIS (paper)"
    return Point(label=label, gmacs=gmacs, score=score, params=params, is_ours=False)


def _draw(axes: Axes, points: list[Point], *, higher_is_better: bool = True) -> None:
    best = front(points, higher_is_better=higher_is_better)
    if len(best) > 1:
        axes.step(
            [p.gmacs for p in best], [p.score for p in best], where="post", color=MUTED, linewidth=1.1, linestyle=":"
        )
    for turn, point in enumerate(points):
        colour = SERIES[0] if point.is_ours else SERIES[1]
        face = colour if point.is_ours else "none"
        axes.scatter(
            [point.gmacs],
            [point.score],
            s=AREA * point.params,
            facecolors=face,
            edgecolors=colour,
            linewidths=1.6,
            alpha=0.9,
        )
        offset = (0, 13 if turn % 2 == 0 else -20)
        place = (point.gmacs, point.score)
        if point.ends is not None:  # the name at an end of the interval, neighbors at other ends
            axes.plot([point.gmacs] * 2, point.ends, color=colour, linewidth=1.6, alpha=0.75)
            offset, place = (0, 5 if turn % 2 == 0 else -12), (point.gmacs, point.ends[1 - turn % 2])
        axes.annotate(point.label, place, xytext=offset, textcoords="offset points", ha="center", fontsize=8.5)
    axes.margins(x=0.28, y=0.22)


def _key(figure: Figure, points: list[Point]) -> None:
    """Draw what the areas, the fillings and the dotted line mean."""
    kinds = [
        _mark(label, size=8, face=face, edge=edge)
        for is_ours, face, edge, label in (
            (False, "none", SERIES[1], "published"),
            (True, SERIES[0], SERIES[0], "measured here"),
        )
        if any(point.is_ours == is_ours for point in points)
    ]
    lines = [Line2D([], [], color=MUTED, linestyle=":", label="front: no row is cheaper and better")]
    if any(point.ends for point in points):
        lines.append(Line2D([], [], color=SERIES[0], linewidth=1.6, label="95 % interval of the score"))
    sizes = [
        _mark(f"{params:g} M parameters", size=(AREA * params) ** 0.5, face="none", edge=MUTED)
        for params in size_key([point.params for point in points])
    ]
    figure.legend(handles=[*kinds, *lines, *sizes], loc="outside lower center", ncols=3)


def _mark(label: str, *, size: float, face: str, edge: str) -> Line2D:
    look = {"marker": "o", "linestyle": "", "markerfacecolor": face, "markeredgecolor": edge, "markersize": size}
    return Line2D([], [], label=label, **look)  # type: ignore[arg-type]


def size_key(params: list[float]) -> list[float]:
    """Return one or two round numbers within the range of the parameters (millions), for the key of sizes."""
    if not params:
        return []
    low, high = min(params), max(params)
    steps = [step * 10.0**power for power in range(-3, 7) for step in SIZE_KEY_STEPS]
    below = max((step for step in steps if step <= low), default=low)
    above = max((step for step in steps if step <= high), default=high)
    return [below] if below == above else [below, above]
