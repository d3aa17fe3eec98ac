"""P@X over X from 0.05 to 0.95, from per-sample rows, with a 95 % band over images, and over trainings where known."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pipeline.records import RecordError
from reports.breakdown import shown_variants
from reports.labels import variant_label
from reports.load import Runs
from reports.plots import line_style, where
from reports.run_selection import RunSelection
from reports.stats import Difference, Scores, cluster_sums, ratio_scores
from reports.style import new_figure, styled
from reports.two_level import compare

LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
DRAWS = 1000


def precision_levels(image_N: np.ndarray, iou_NS: np.ndarray) -> list[Difference]:
    """Return P@X with its interval for each of LEVELS.

    Args:
        image_N: image of each sample.
        iou_NS: IoU of each sample in each training of a row.
    """
    above_NLS = iou_NS[:, None, :] > np.asarray(LEVELS)[:, None]
    seeds = iou_NS.shape[1]
    sums_CK = cluster_sums(image_N, above_NLS.reshape(len(image_N), -1).astype(np.float64))
    count_CK = cluster_sums(image_N, np.ones((len(image_N), 1)))
    scores: Scores = ratio_scores(sums_CK, count_CK, draws=DRAWS)
    return [compare(scores, range(level * seeds, (level + 1) * seeds)) for level in range(len(LEVELS))]


def read_precisions(runs: Runs, choice: RunSelection, problems: list[str]) -> dict[str, list[Difference]]:
    """Return the levels of each shown variant; a run without usable samples is left out and named in `problems`."""
    found: dict[str, list[Difference]] = {}
    iou = f"iou_{choice.protocol}"
    for variant in shown_variants(choice) if len(choice.rows) else []:
        columns, image_N = [], None
        for run_id in choice.rows.loc[choice.rows["variant"] == variant, "run_id"]:
            try:
                rows = runs.samples(run_id, choice.split, ["image_id", iou])
            except RecordError as error:
                problems.append(f"figures without {run_id}: {error}")
                continue
            if image_N is None or np.array_equal(image_N, rows["image_id"]):
                image_N = rows["image_id"].to_numpy()
                columns.append(rows[iou].to_numpy())
        if image_N is not None:
            found[variant] = precision_levels(image_N, np.stack(columns, axis=1))
    return found


@styled
def draw_precisions(found: dict[str, list[Difference]], choice: RunSelection) -> Figure | None:
    """Draw a line and a band per variant."""
    if not found:
        return None
    figure = new_figure(7.6, 4.4)
    axes = figure.axes[0]
    for series, (variant, levels) in enumerate(found.items()):
        style = line_style(series) | {"marker": ""}
        axes.plot(LEVELS, [100 * each.observed for each in levels], label=variant_label(variant), **style)
        low, high = ([100 * getattr(each, side) for each in levels] for side in ("low", "high"))
        axes.fill_between(LEVELS, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.set_xticks(LEVELS[1::2])
    axes.set_xlim(LEVELS[0], LEVELS[-1])
    axes.set_ylim(0, 100)
    axes.set_xlabel("IoU threshold X")
    axes.set_ylabel("P@X (% of samples with IoU > X), 95 % band")
    axes.set_title(f"Precision over threshold: {where(choice)}")
    axes.legend()
    return figure
