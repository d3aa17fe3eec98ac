"""The scores of a table's rows as points: the mean over seeds with its interval, every seed, and the paper's number.

The interval is that of the tables: over trainings and images, of a row with one seed over images only.

The axis starts where differences are visible, so rows are points and not bars, whose length would mislead. The paper's
scores have a panel of their own unless both were taken on the paper's data. Scores are in percent.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.evaluation.metrics import Metric, metrics_of
from pipeline.published.tables import number
from reports.bootstrap_samples import Resampled
from reports.plots import where
from reports.run_selection import RunSelection
from reports.style import INK, MUTED, PAPER, SERIES, light_grid, new_figure, styled
from reports.tables import Built, method_label
from reports.two_level import compare


@styled
def row_scores(built: Built, resampled: Resampled | None = None) -> Figure | None:
    """Draw a point per row of an ablation for each main score; None where nothing was run.

    Args:
        built: the ablation.
        resampled: scores of its runs; a row has an interval where its runs are among them.
    """
    rows = built.choice.rows
    if rows.empty:
        return None
    metrics = [metric for metric in metrics_of("main") if metric.name in rows and rows[metric.name].notna().any()]
    apart = built.is_of_paper and not built.choice.is_published_data
    panels = [(metric, side) for metric in metrics for side in (("here", "paper") if apart else ("both",))]
    panels = [(m, side) for m, side in panels if side != "paper" or m.heading in built.published]
    width, height = max(5.5, 1.2 + 2.35 * len(panels)), 1.35 + 0.42 * len(built.published)
    figure = new_figure(width, height, columns=len(panels), sharey=True)
    places = _places(built.published)
    for axes, (metric, side) in zip(figure.axes, panels, strict=True):
        _panel(axes, built, resampled, metric, places, side)
    figure.axes[0].set_yticks(places, _row_names(built.published))
    figure.axes[0].set_ylim(min(places) - 0.6, max(places) + 0.6)
    _legend(figure, built, resampled)
    figure.suptitle(built.table.title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK)
    return figure


def interval(
    choice: RunSelection, resampled: Resampled | None, metric: str, variant: str
) -> tuple[float, float] | None:
    """Return the 95 % interval of a row's mean score, as a share; None where its samples were not resampled."""
    if resampled is None or metric not in resampled.scores:
        return None
    mine = choice.rows.loc[choice.rows["variant"] == variant, "run_id"]
    columns = [resampled.run_ids.index(run_id) for run_id in mine if run_id in resampled.run_ids]
    if not columns or len(columns) < len(mine):
        return None
    found = compare(resampled.scores[metric], columns)
    return (found.low, found.high) if np.isfinite(found.low) else None


def _panel(
    axes: Axes, built: Built, resampled: Resampled | None, metric: Metric, places: np.ndarray, side: str
) -> None:
    shown: list[float] = []
    for place, (_, line) in zip(places, built.published.iterrows(), strict=True):
        if side != "paper":
            ends = interval(built.choice, resampled, metric.name, line["variant"])
            shown += _own(axes, built, metric, line["variant"], float(place), ends)
        printed = number(str(line.get(metric.heading, "")))
        if side != "here" and printed is not None:
            axes.plot([printed], [place], **_diamond(), clip_on=False)  # type: ignore[arg-type]
            shown.append(printed)
    label = f"{metric.heading} ({metric.unit})" if metric.unit else metric.heading
    axes.set_xlabel(label if side == "both" else f"{label}, {side}")
    if shown:
        low, high = min(shown), max(shown)
        room = max(0.4, 0.12 * (high - low))
        axes.set_xlim(low - room, high + room)
        axes.text(0.0, 1.01, f"axis from {low - room:.1f}", transform=axes.transAxes, fontsize=8.5, color=MUTED)
    light_grid(axes, "both")
    axes.tick_params(axis="y", length=0)


def _own(
    axes: Axes, built: Built, metric: Metric, variant: str, place: float, ends: tuple[float, float] | None
) -> list[float]:
    """Draw the seeds, their mean and its interval; return what the axis must hold."""
    mine = built.choice.rows[built.choice.rows["variant"] == variant]
    scores = metric.factor * mine[metric.name].dropna().to_numpy()
    if not len(scores):
        return []
    shown = [metric.factor * end for end in ends or ()]
    if shown:
        axes.plot(shown, [place, place], color=SERIES[0], linewidth=2.2, alpha=0.75, clip_on=False)
    if len(scores) > 1:
        axes.plot(scores, np.full(len(scores), place - 0.2), "|", color=INK, markersize=7, clip_on=False)
    axes.plot([scores.mean()], [place], "o", color=SERIES[0], markersize=7.5, markeredgecolor=PAPER, clip_on=False)
    return [*scores, *shown]


_ONE_LINE = 110
"""Letters of a legend that fit next to each other below the figure; more would be cut at its edge."""


def _legend(figure: Figure, built: Built, resampled: Resampled | None) -> None:
    here = f"here, mean: {where(built.choice)}"
    seeds = built.choice.rows.groupby("variant")["seed"].nunique()
    handles = [Line2D([], [], color=SERIES[0], marker="o", linestyle="", markersize=7, label=here)]
    if resampled is not None:
        over = "trainings and images" if seeds.min() > 1 else "images"
        over = over if (seeds.min() > 1) == (seeds.max() > 1) else "trainings (where several) and images"
        handles.append(Line2D([], [], color=SERIES[0], linewidth=2.2, label=f"95 % interval over {over}"))
    if seeds.max() > 1:
        handles.append(Line2D([], [], color=INK, marker="|", linestyle="", markersize=7, label="one seed"))
    if built.is_of_paper:
        handles.append(Line2D([], [], **_diamond(), label="paper: RefCOCO+ val, base"))  # type: ignore[arg-type]
    letters = sum(len(str(handle.get_label())) for handle in handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=4 if letters <= _ONE_LINE else 2)


def _diamond() -> dict[str, object]:
    return {
        "marker": "D",
        "linestyle": "",
        "markerfacecolor": PAPER,
        "markeredgecolor": SERIES[1],
        "markersize": 7,
        "markeredgewidth": 1.6,
    }


def _places(published: pd.DataFrame) -> np.ndarray:
    """Return the height of each row, from the top, with a gap between the parts of a table."""
    parts = published["part"].ne(published["part"].shift()).cumsum().to_numpy()
    return (len(published) - 1 - np.arange(len(published)) - 0.5 * (parts - 1)).astype(float)


def _row_names(published: pd.DataFrame) -> list[str]:
    names = [method_label(row) for _, row in published.iterrows()]
    if "Backbones" in published:
        names = [f"{name}, {backbone}" for name, backbone in zip(names, published["Backbones"], strict=True)]
    return names
