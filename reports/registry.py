"""The plots of a report that are drawn from all its runs, and tables that are of no sweep: plugins add to both dicts.

A plot gets a `ReportData` and returns a matplotlib figure, or None where there is nothing to draw. A table is made by a
function of the runs and of what the user asked for. The bars and galleries of one table are in `reports.figures`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pipeline.records import RecordError
from reports import breakdown, pareto, plots
from reports.bootstrap_samples import Resampled
from reports.cost_cells import CostBook
from reports.labels import in_order
from reports.layout import Table
from reports.load import Runs
from reports.precision_curve import draw_precisions, read_precisions
from reports.run_selection import RunSelection, Wanted
from reports.seen_words import by_seen_words, count_words
from reports.tables import published_rows
from reports.threshold_curve import draw_curves, read_curves
from reports.validation_curves import read_validations, validation_curves


@dataclass(kw_only=True)
class ReportData:
    """What a plot is drawn from.

    Attributes:
        runs: all records, and samples and histories by run.
        choice: the runs that the report shows: `choice.rows` has their records, one row per variant and seed.
        costs: measured costs.
        problems: lines that the report prints at its end; a plot adds one per file that it could not use.
        prepared: folder of the prepared sets.
        resampled: scores of the runs of all tables with their draws of images, for intervals.
    """

    runs: Runs
    choice: RunSelection
    costs: CostBook
    problems: list[str] = field(default_factory=list)
    prepared: Path = Path("data/prepared")
    resampled: tuple[Resampled, ...] = ()

    @cached_property
    def training_words(self) -> Counter[str] | None:
        """How often each word stands in the training expressions of the shown runs; None where they are not there."""
        if self.choice.rows.empty:
            return None
        return count_words(self.prepared, list(self.choice.rows.iloc[0]["train_sets"]))

    @cached_property
    def samples(self) -> dict[str, pd.DataFrame]:
        """Per-sample rows of each variant that is shown, IoU averaged over its seeds; read once."""
        if self.choice.rows.empty:
            return {}
        frames, problems = breakdown.read_variants(self.runs, self.choice)
        self.problems += problems
        return frames

    @cached_property
    def boundaries(self) -> dict[str, pd.DataFrame]:
        """The same with the boundary IoU in the place of the IoU; nothing where no record has one."""
        if self.choice.rows.empty or self.choice.rows["boundary_iou"].isna().all():
            return {}
        frames, problems = breakdown.read_variants(self.runs, self.choice, "boundary_iou")
        self.problems += problems
        return frames


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One plot of a report.

    Attributes:
        title: above the plot.
        draw: returns the figure; None where there is nothing to draw.
        group: a key of GROUPS.
        needs: what is missing where `draw` returns None.
        is_wide: over the whole width of the page.
        tables: names of the tables whose rows it shows; they link to it, and it to them.
    """

    title: str
    draw: Callable[[ReportData], Figure | None]
    group: str = "own"
    needs: str = "runs"
    is_wide: bool = False
    tables: tuple[str, ...] = ()


GROUPS = {
    "cost": "Accuracy and cost",
    "training": "Training",
    "scores": "Where it works and where it does not",
    "own": "Plots of plugins",
}
"""Group -> its heading, in the order of the page."""


def read_histories(runs: Runs, choice: RunSelection, problems: list[str]) -> dict[str, list[pd.DataFrame]]:
    """Return the histories of each variant; a line is added to `problems` for each that cannot be read."""
    found: dict[str, list[pd.DataFrame]] = {}
    for variant, rows in plots.by_variant(choice):
        for run_id in rows["run_id"]:
            try:
                history = runs.history(run_id)
            except RecordError as error:
                problems.append(f"training curve without {run_id}: {error}")
            else:  # not before it was read: a variant without any history has no curve
                found.setdefault(variant, []).append(history)
    return found


def _pareto(data: ReportData) -> Figure | None:
    return pareto.pareto(published_rows("VI")[1], data.choice, data.costs, data.resampled)


def _component_costs(data: ReportData) -> Figure | None:
    return plots.component_costs(data.costs, in_order(data.costs.variants("base")))


def _training_curves(data: ReportData) -> Figure | None:
    return plots.training_curves(read_histories(data.runs, data.choice, data.problems))


def _by(draw: Callable[[dict[str, pd.DataFrame], RunSelection], Figure | None]) -> Callable[..., Figure | None]:
    return lambda data: draw(data.samples, data.choice) if data.samples else None


_SAMPLES = "per-sample rows"
FIGURES: dict[str, Plot] = {
    "pareto": Plot(group="cost", title="oIoU against GMACs", draw=_pareto, is_wide=True, tables=("II", "VI")),
    "cost-per-component": Plot(
        group="cost",
        title="Cost added by each component",
        draw=_component_costs,
        is_wide=True,
        needs="cost files",
        tables=("VII", "VIII"),
    ),
    "training": Plot(group="training", title="Training curves", draw=_training_curves, is_wide=True),
    "validation": Plot(
        group="training",
        title="Validation while training",
        draw=lambda data: validation_curves(read_validations(data.runs, data.choice, data.problems)),
        needs="validations (--validate-every-epochs)",
        is_wide=True,
    ),
    "precision": Plot(
        group="scores",
        title="P@X over X from 0.05 to 0.95",
        draw=lambda data: draw_precisions(read_precisions(data.runs, data.choice, data.problems), data.choice),
        needs=_SAMPLES,
        tables=("I", "IX"),
    ),
    "threshold": Plot(
        group="scores",
        title="Score over the binarization threshold",
        draw=lambda data: draw_curves(read_curves(data.runs, data.choice, data.problems), data.choice),
        needs="counts over thresholds (sharedris evaluate RUN SPLIT --threshold-curve)",
        is_wide=True,
        tables=("I",),
    ),
    "iou-by-size": Plot(
        group="scores",
        title="IoU by object size (the paper's figure 6)",
        draw=_by(breakdown.by_size),
        needs=_SAMPLES,
    ),
    "boundary-iou-by-size": Plot(
        group="scores",
        title="Boundary IoU by object size",
        draw=lambda data: breakdown.by_size(data.boundaries, data.choice, "boundary IoU"),
        needs="the boundary IoU (sharedris runs rescore RUN)",
    ),
    "iou-by-length": Plot(
        group="scores", title="IoU by sentence length", draw=_by(breakdown.by_length), needs=_SAMPLES
    ),
    "iou-by-kind": Plot(group="scores", title="IoU by kind of expression", draw=_by(breakdown.by_kind), needs=_SAMPLES),
    "iou-by-seen-words": Plot(
        group="scores",
        title="IoU by seen and unseen words",
        draw=lambda data: by_seen_words(data.samples, data.choice, data.training_words),
        needs="per-sample rows or the prepared training set",
    ),
}
"""Name -> plot; the name is that of its files."""

TABLES: dict[str, Callable[[Runs, Wanted], Table]] = {}
"""Name -> table of a plugin, from the runs and what the user asked for."""
