"""Plots from records: ablation bars, accuracy against cost, cost per component, precision, training curves.

Every function takes frames and returns a matplotlib figure; nothing is read or written here. Scores are in percent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from pipeline.evaluation.metrics import PRECISION_THRESHOLDS, Metric, metrics_of
from pipeline.published.tables import number
from reports.cost_cells import CostBook
from reports.labels import in_order, variant_label
from reports.run_selection import RunSelection
from reports.style import DASHES, INK, MARKERS, MUTED, PAPER, SERIES, light_grid, new_figure, styled
from reports.tables import Built, method_label

COMPONENTS = ("embedding", "encoder", "fpn", "decoder", "head")


def where(choice: RunSelection) -> str:
    """Return data set, protocol and scale for a plot's title."""
    return f"{choice.split}, protocol {choice.protocol}, scale {choice.scale}"


def by_variant(choice: RunSelection) -> list[tuple[str, pd.DataFrame]]:
    """Return the chosen records of each variant, in the order of the paper's ablations."""
    return [(variant, choice.rows[choice.rows["variant"] == variant]) for variant in in_order(choice.rows["variant"])]


@styled
def ablation_bars(built: Built) -> Figure | None:
    """Draw one bar per row of an ablation with a dot per seed and the paper's score as a hollow diamond."""
    rows = built.choice.rows
    published = built.published
    if rows.empty:
        return None
    height = 1.25 + 0.42 * len(published)
    metrics = [metric for metric in metrics_of("main") if metric.name in rows and rows[metric.name].notna().any()]
    figure = new_figure(4.3 * len(metrics), height, columns=len(metrics), sharey=True)
    places = _places(published)
    for axes, metric in zip(figure.axes, metrics, strict=True):
        _bars(axes, built, metric, places)
        axes.set_xlabel(f"{metric.heading} ({metric.unit})" if metric.unit else metric.heading)
        light_grid(axes, "x")
        axes.tick_params(axis="y", length=0)
    figure.axes[0].set_yticks(places, _row_names(published))
    here = f"here, mean: {where(built.choice)}"
    handles = [
        Line2D([], [], color=SERIES[0], linewidth=7, alpha=0.75, label=here),
        Line2D([], [], color=INK, marker="o", linestyle="", markersize=4.5, label="one seed"),
        *([_hollow("D", "paper: RefCOCO+ val, base")] if built.is_of_paper else []),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(here) > 60 else 3)
    figure.suptitle(built.table.title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK)
    return figure


def _places(published: pd.DataFrame) -> np.ndarray:
    """Return the height of each row's bar, from the top, with a gap between the parts of a table."""
    parts = published["part"].ne(published["part"].shift()).cumsum().to_numpy()
    return (len(published) - 1 - np.arange(len(published)) - 0.5 * (parts - 1)).astype(float)


def _row_names(published: pd.DataFrame) -> list[str]:
    names = [method_label(row) for _, row in published.iterrows()]
    if "Backbones" in published:
        names = [f"{name}, {backbone}" for name, backbone in zip(names, published["Backbones"], strict=True)]
    return names


def _bars(axes: Axes, built: Built, metric: Metric, places: np.ndarray) -> None:
    shown: list[float] = []
    for place, (_, line) in zip(places, built.published.iterrows(), strict=True):
        mine = built.choice.rows[built.choice.rows["variant"] == line["variant"]]
        scores = metric.factor * mine[metric.name].dropna().to_numpy()
        printed = number(str(line.get(metric.heading, "")))
        if len(scores):
            axes.barh(place, scores.mean(), height=0.55, color=SERIES[0], alpha=0.75)
            spread = np.linspace(-0.12, 0.12, len(scores)) if len(scores) > 1 else np.zeros(1)
            axes.plot(scores, place + spread, "o", color=INK, markersize=4.5, markeredgecolor=PAPER)
            shown += [*scores]
        if printed is not None:
            axes.plot(
                [printed], [place], "D", color=PAPER, markeredgecolor=SERIES[1], markersize=7, markeredgewidth=1.6
            )
            shown.append(printed)
    low, high = min(shown), max(shown)
    start = max(0.0, low - max(3.0, 0.35 * (high - low))) if built.choice.is_published_data else 0.0
    axes.set_xlim(start, high + max(1.0, 0.08 * (high - low)))
    if start > 0:
        axes.text(0.0, 1.01, f"axis starts at {start:.0f} %", transform=axes.transAxes, fontsize=8.5, color=MUTED)


def _hollow(marker: str, label: str) -> Line2D:
    options = {"markerfacecolor": PAPER, "markeredgecolor": SERIES[1], "markersize": 7, "markeredgewidth": 1.6}
    return Line2D([], [], marker=marker, linestyle="", label=label, **options)  # type: ignore[arg-type]


@styled
def pareto(published: pd.DataFrame, choice: RunSelection, costs: CostBook) -> Figure:
    """Draw oIoU against GMACs; the area of a point is its parameters; published hollow, ours filled.

    The paper's scores and ours have a panel each unless both were taken on the paper's data.
    """
    figure = new_figure(9.2, 4.3, columns=2)
    left, right = figure.axes
    for number_, (_, row) in enumerate(published.iterrows()):
        label = f"{row['method']}, {row['Backbones']}" if "Ours" not in row["method"] else "Shared-RIS (paper)"
        values = [number(row[heading]) for heading in ("GFLOPs", "oIoU", "Params")]
        _point(left, values, SERIES[1], label, filled=False, above=number_ % 2 == 0)
    left.set_title("Published: RefCOCO+ val")
    ours = [
        (variant, rows, cost)
        for variant, rows in by_variant(choice)
        if (cost := costs.cell("total", "base", variant)) is not None
    ]
    for number_, (variant, rows, cost) in enumerate(ours):
        values = [cost.gmacs, 100 * rows["oiou"].mean(), cost.million_params]
        target = left if choice.is_published_data else right
        _point(target, values, SERIES[0], variant_label(variant), filled=True, above=number_ % 2 == 0)
    right.set_title("Here: nothing run" if not ours else f"Here: {choice.split}, {choice.scale}")
    if not ours:
        right.text(0.5, 0.5, "not run", transform=right.transAxes, ha="center", color=MUTED)
    for axes in figure.axes:
        axes.set_xlabel("GMACs at the paper's scale")
        axes.set_ylabel("oIoU (%)")
        axes.margins(x=0.25, y=0.2)
    left.set_xscale("log")
    left.set_xlabel("GMACs (log)")
    left.xaxis.set_major_formatter(ScalarFormatter())
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_xticks([150, 300, 600, 1200])
    figure.supxlabel("area of a point: million parameters; hollow: published, filled: measured here", fontsize=9)
    return figure


@styled
def sweep_pareto(built: Built) -> Figure | None:
    """Draw each main score of a sweep's rows against their GMACs at the scale of the runs, mean over seeds."""
    rows = built.choice.rows.dropna(subset="gmacs") if len(built.choice.rows) else built.choice.rows
    metrics = [metric for metric in metrics_of("main") if metric.name in rows and rows[metric.name].notna().any()]
    if rows.empty or not metrics:
        return None
    figure = new_figure(4.6 * len(metrics), 4.0, columns=len(metrics))
    for axes, metric in zip(figure.axes, metrics, strict=True):
        for number_, (variant, of_row) in enumerate(rows.groupby("variant", sort=False)):
            gmacs, score, params = (float(of_row[name].mean()) for name in ("gmacs", metric.name, "million_params"))
            values: list[float | None] = [gmacs, metric.factor * score, params]
            _point(axes, values, SERIES[0], str(variant), filled=True, above=number_ % 2 == 0)
        axes.set_xlabel(f"GMACs at the {built.choice.scale} scale")
        axes.set_ylabel(f"{metric.heading} ({metric.unit})" if metric.unit else metric.heading)
        axes.margins(x=0.25, y=0.2)
    figure.suptitle(f"{built.table.title}: {where(built.choice)}", x=0.01, ha="left", fontsize=11.5, color=INK)
    return figure


def _point(axes: Axes, values: list[float | None], colour: str, label: str, *, filled: bool, above: bool) -> None:
    gmacs, score, params = values
    if gmacs is None or score is None or params is None:
        return
    face = colour if filled else "none"
    axes.scatter([gmacs], [score], s=1.4 * params, facecolors=face, edgecolors=colour, linewidths=1.6, alpha=0.9)
    offset = (0, 13 if above else -20)
    axes.annotate(label, (gmacs, score), xytext=offset, textcoords="offset points", ha="center", fontsize=8.5)


@styled
def component_costs(costs: CostBook, variants: list[str], scale: str = "base") -> Figure | None:
    """Draw parameters and GMACs per component as stacked bars, one bar per variant."""
    measured = [variant for variant in variants if (scale, variant) in costs]
    if not measured:
        return None
    figure = new_figure(9.2, 1.6 + 0.36 * len(measured), columns=2, sharey=True)
    places = np.arange(len(measured))[::-1]
    fields = (("million_params", "million parameters"), ("gmacs", "GMACs"))
    for axes, (field, unit) in zip(figure.axes, fields, strict=True):
        left = np.zeros(len(measured))
        for number_, component in enumerate(COMPONENTS):
            values = np.array([_component(costs, scale, variant, component, field) for variant in measured])
            hatch = ("", "", "///", "", "xx")[number_]
            colour = SERIES[number_]
            axes.barh(
                places, values, left=left, height=0.62, color=colour, edgecolor=PAPER, hatch=hatch, label=component
            )
            left += values
        for place, total in zip(places, left, strict=True):
            axes.annotate(
                f"{total:.1f}", (total, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
            )
        axes.set_xlabel(f"{unit} ({scale} scale, 480×480)")
        axes.margins(x=0.12)
        light_grid(axes, "x")
        axes.tick_params(axis="y", length=0)
    figure.axes[0].set_yticks(places, [variant_label(variant) for variant in measured])
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(COMPONENTS))
    return figure


def _component(costs: CostBook, scale: str, variant: str, component: str, field: str) -> float:
    cost = costs.components(scale, variant).get(component)
    return float(getattr(cost, field)) if cost else 0.0


@styled
def precision_curve(choice: RunSelection) -> Figure | None:
    """Draw P@X over X for every variant: the share of samples with an IoU above X, mean over seeds."""
    if choice.rows.empty:
        return None
    figure = new_figure(7.6, 4.4)
    axes = figure.axes[0]
    columns = [f"precision_at_{round(100 * level)}" for level in PRECISION_THRESHOLDS]
    for series, (variant, rows) in enumerate(by_variant(choice)):
        values = 100 * rows[columns].mean().to_numpy()
        axes.plot(PRECISION_THRESHOLDS, values, label=variant_label(variant), **line_style(series))
    axes.set_xticks(PRECISION_THRESHOLDS)
    axes.set_xlabel("IoU threshold X")
    axes.set_ylabel("P@X (% of samples with IoU > X)")
    axes.set_ylim(0, max(10.0, axes.get_ylim()[1]))
    axes.set_title(f"Precision over threshold: {where(choice)}")
    axes.legend()
    return figure


def line_style(series: int) -> dict[str, Any]:
    """Return colour, dash and marker of a series: any two differ in all three."""
    number_ = series % len(SERIES)
    return {
        "color": SERIES[number_],
        "linestyle": DASHES[number_],
        "marker": MARKERS[number_],
        "markeredgecolor": PAPER,
    }


@styled
def training_curves(histories: dict[str, list[pd.DataFrame]]) -> Figure | None:
    """Draw the loss over epochs: a line per variant (mean over seeds), thin lines for single seeds.

    Args:
        histories: variant -> HISTORY_SCHEMA rows of each of its runs.
    """
    if not histories:
        return None
    figure = new_figure(9.2, 3.9, columns=2)
    fields = (("loss", "training loss (mean over the epoch)"), ("learning_rate", "learning rate"))
    for axes, (field, title) in zip(figure.axes, fields, strict=True):
        for series, (variant, runs) in enumerate(histories.items()):
            style = line_style(series)
            for rows in runs if len(runs) > 1 else []:
                axes.plot(rows["epoch"], rows[field], color=style["color"], linewidth=0.7, alpha=0.45)
            mean = pd.concat(runs).groupby("epoch")[field].mean()
            axes.plot(mean.index, mean, label=variant_label(variant), **style)
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, axes.get_xlim()[1] if axes.get_xlim()[1] > 2 else 1.5)
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].legend()
    figure.axes[1].ticklabel_format(axis="y", scilimits=(-2, 2))
    return figure
