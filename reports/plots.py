"""Plots from records: cost per component, precision, training curves.

Every function takes frames and returns a matplotlib figure; nothing is read or written here. Scores are in percent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.cost_cells import CostBook
from reports.labels import in_order, variant_label
from reports.run_selection import RunSelection
from reports.style import DASHES, INK, MARKERS, PAPER, SERIES, light_grid, new_figure, styled

COMPONENTS = ("embedding", "encoder", "fpn", "decoder", "head")
SMALLEST_COST = 0.005
"""Below it a component's difference prints as 0.00 and is not drawn."""


def where(choice: RunSelection) -> str:
    """Return data set, protocol and scale for a plot's title."""
    return f"{choice.split}, protocol {choice.protocol}, scale {choice.scale}"


def by_variant(choice: RunSelection) -> list[tuple[str, pd.DataFrame]]:
    """Return the chosen records of each variant, in the order of the paper's ablations."""
    return [(variant, choice.rows[choice.rows["variant"] == variant]) for variant in in_order(choice.rows["variant"])]


@styled
def component_costs(costs: CostBook, variants: list[str], scale: str = "base") -> Figure | None:
    """Draw what each variant's components add over the one without an FPN, and their totals, in stacked bars.

    Where no variant without an FPN was measured, the whole of each component is drawn.
    """
    measured = [variant for variant in variants if (scale, variant) in costs]
    if not measured:
        return None
    base = next((variant for variant in measured if "fpn=none()" in variant), None)
    shown = [variant for variant in measured if variant != base] or measured
    figure = new_figure(9.2, 1.8 + 0.36 * len(shown), columns=2, sharey=True)
    places = np.arange(len(shown))[::-1]
    fields = (("million_params", "million parameters"), ("gmacs", "GMACs"))
    for axes, (field, unit) in zip(figure.axes, fields, strict=True):
        _stack(axes, costs, scale, shown, base if shown != measured else None, field)
        over = " added over no FPN" if shown != measured else ""
        axes.set_xlabel(f"{unit}{over}")
        axes.margins(x=0.2)
        light_grid(axes, "x")
        axes.tick_params(axis="y", length=0)
    figure.axes[0].set_yticks(places, [variant_label(variant) for variant in shown])
    figure.suptitle(f"{scale} scale, 480×480", x=0.01, ha="left", fontsize=11.5, color=INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(COMPONENTS))
    return figure


def _stack(axes: Axes, costs: CostBook, scale: str, shown: list[str], base: str | None, field: str) -> None:
    """Draw a bar per variant; a component that costs less than without an FPN goes to the left of zero."""
    places = np.arange(len(shown))[::-1]
    ends = {1: np.zeros(len(shown)), -1: np.zeros(len(shown))}
    for number_, component in enumerate(COMPONENTS):
        zero = _component(costs, scale, base, component, field) if base else 0.0
        values = np.array([_component(costs, scale, variant, component, field) - zero for variant in shown])
        if base and np.abs(values).max() < SMALLEST_COST:
            continue  # the same for all, such as the encoder
        left = np.where(values >= 0, ends[1], ends[-1])
        color, hatch = SERIES[number_], ("", "", "///", "", "xx")[number_]
        axes.barh(places, values, left=left, height=0.62, color=color, hatch=hatch, edgecolor=PAPER, label=component)
        ends[1], ends[-1] = ends[1] + np.maximum(values, 0), ends[-1] + np.minimum(values, 0)
    for place, variant, end in zip(places, shown, ends[1], strict=True):
        total = _total(costs, scale, variant, field)
        text = f"{total - _total(costs, scale, base, field):+.2f} = {total:.1f}" if base else f"{total:.1f}"
        axes.annotate(text, (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    if base:
        axes.axvline(0, color=INK, linewidth=0.8)


def _total(costs: CostBook, scale: str, variant: str, field: str) -> float:
    return sum(_component(costs, scale, variant, component, field) for component in COMPONENTS)


def _component(costs: CostBook, scale: str, variant: str, component: str, field: str) -> float:
    cost = costs.components(scale, variant).get(component)
    return float(getattr(cost, field)) if cost else 0.0


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
    fields = (
        ("loss", "loss", "training loss (mean over the epoch)"),
        ("learning_rate", "learning rate", "learning rate"),
    )
    for axes, (field, label, title) in zip(figure.axes, fields, strict=True):
        for series, (variant, runs) in enumerate(histories.items()):
            style = line_style(series)
            for rows in runs if len(runs) > 1 else []:
                axes.plot(rows["epoch"], rows[field], color=style["color"], linewidth=0.7, alpha=0.45)
            mean = pd.concat(runs).groupby("epoch")[field].mean()
            axes.plot(mean.index, mean, label=variant_label(variant), **style)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_xlim(0.5, axes.get_xlim()[1] if axes.get_xlim()[1] > 2 else 1.5)
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].legend()
    figure.axes[1].ticklabel_format(axis="y", scilimits=(-2, 2))
    return figure
