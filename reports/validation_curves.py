"""Scores over optimizer steps, of runs that were validated while they trained."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from pipeline.evaluation.metrics import METRICS
from pipeline.records import RecordError, read_table
from pipeline.validation_rows import VALIDATION_SCHEMA, validation_path
from reports.labels import variant_label
from reports.load import Runs
from reports.plots import by_variant, line_style
from reports.run_selection import RunSelection
from reports.style import new_figure, styled


def read_validations(runs: Runs, choice: RunSelection, problems: list[str]) -> dict[str, list[pd.DataFrame]]:
    """Return variant -> the validations of its chosen runs under the chosen protocol, where they have any."""
    found: dict[str, list[pd.DataFrame]] = {}
    for variant, rows in by_variant(choice):
        for run_id in rows["run_id"]:
            path = validation_path(runs.root, run_id)
            if not path.exists():
                continue
            try:
                scores = read_table(path, VALIDATION_SCHEMA)
            except RecordError as error:
                problems.append(f"validation curve without {run_id}: {error}")
            else:
                found.setdefault(variant, []).append(scores[scores["protocol"] == choice.protocol])
    return found


@styled
def validation_curves(validations: dict[str, list[pd.DataFrame]]) -> Figure | None:
    """Draw oIoU and mIoU over steps: a line per run, one color per variant.

    Args:
        validations: variant -> VALIDATION_SCHEMA rows of each of its runs, of one protocol.
    """
    if not any(len(rows) for runs in validations.values() for rows in runs):
        return None
    figure = new_figure(9.2, 3.9, columns=2)
    for axes, name in zip(figure.axes, ("oiou", "miou"), strict=True):
        for series, (variant, runs) in enumerate(validations.items()):
            for number, rows in enumerate(runs):
                label = variant_label(variant) if number == 0 else None
                axes.plot(rows["step"], METRICS[name].factor * rows[name], label=label, **line_style(series))
        splits = sorted({split for runs in validations.values() for rows in runs for split in rows["split"]})
        axes.set_title(f"{METRICS[name].heading} (%) on {', '.join(splits)}")
        axes.set_xlabel("optimizer step")
    figure.axes[0].legend()
    return figure
