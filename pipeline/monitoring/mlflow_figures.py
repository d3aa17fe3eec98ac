"""What MLflow shows of a finished run beyond numbers: its scores as a table, and precision over the IoU threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.evaluation.metrics import metrics_of
from pipeline.records import SAMPLE_SCHEMA, read_columns

SCORES_TABLE = "tables/scores.json"


def score_table(record: pd.DataFrame) -> pd.DataFrame:
    """Return a row per split and protocol: counts and the scores that tables print, in their unit."""
    shown = [metric for metric in metrics_of("main", "detail") if metric.name in record]
    scores = {
        f"{metric.heading} [%]" if metric.unit == "%" else metric.heading: metric.factor * record[metric.name]
        for metric in shown
    }
    names = record[["split", "protocol"]].astype(object)  # MLflow's call warns of the dtype `str` of pandas 3
    return names.join(record[["samples", "images"]]).assign(**scores).reset_index(drop=True)


def precision_figure(samples: Path, split: str) -> Figure:
    """Return the share of samples above each IoU, under the protocol `original`.

    Raises:
        RecordError: when the per-sample rows cannot be read.
    """
    iou_N = np.sort(read_columns(samples, SAMPLE_SCHEMA, ["iou_original"])["iou_original"].to_numpy())
    thresholds = np.linspace(0.0, 1.0, 101)
    above = 100.0 * (1.0 - np.searchsorted(iou_N, thresholds, side="right") / len(iou_N))
    figure = Figure(figsize=(5.0, 3.5), layout="constrained")  # without pyplot: this runs in the monitor's thread
    axes = figure.add_subplot(
        xlim=(0, 1), ylim=(0, 100), xlabel="IoU threshold X", ylabel="P@X: samples with IoU > X [%]"
    )
    axes.plot(thresholds, above)
    axes.set_title(f"{split}: mean IoU {100 * iou_N.mean():.2f} % of {len(iou_N)} samples")
    axes.grid(alpha=0.3)
    return figure
