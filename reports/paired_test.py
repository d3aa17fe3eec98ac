"""The paired test of any runs that the user names, ours or external: each with the first, sample by sample."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.evaluation.metrics import Metric, shown_metrics
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.records import RecordError
from reports.bootstrap_samples import Resampled, resample_runs
from reports.layout import Cell, Column, Row, Table, missing_cell, text_cell
from reports.load import Runs
from reports.significance import p_text, signed
from reports.stats import DRAWS, Difference, difference, holm


def paired_test(runs: Runs, run_ids: list[str], *, draws: int = DRAWS) -> tuple[Table, list[str]]:
    """Return the differences of runs to the first one, on each split and protocol that it shares with them.

    Args:
        runs: all runs.
        run_ids: of `reports.run_diff.run_ids_of`.
        draws: of the bootstrap.

    Returns:
        The table, and a line for each run whose samples could not be used.
    """
    rows: list[Row] = []
    problems: list[str] = []
    metrics = shown_metrics(pd.concat([runs.rows_of(run_id) for run_id in run_ids]), "main")
    for split, protocol in _shared(runs, run_ids):
        same, others = _with_same_truth(runs, run_ids, split, protocol)
        resampled = resample_runs(runs, same, split, protocol, draws=draws)
        problems += [*others, *resampled.problems]
        lines = _lines(resampled, run_ids, metrics)
        if lines:
            title = f"{split}, protocol {protocol}"
            rows += [Row(kind="section", cells=(text_cell(title),)), *lines]
    columns = [Column(heading="Difference", numeric=False)]
    for metric in metrics:
        columns += _columns(metric)
    table = Table(
        name="compare-paired",
        title="Paired test",
        caption=f"Differences to {run_ids[0]}. Paired bootstrap over images, {draws} draws; Holm over the differences "
        "of one split and protocol; bold: below 0.05.",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=() if rows else ("The runs share no split and protocol with per-sample rows of the same samples.",),
    )
    return table, problems


def _shared(runs: Runs, run_ids: list[str]) -> list[tuple[str, str]]:
    """Return (split, protocol) of the first run that another one has too."""
    found = [
        {(str(split), str(protocol)) for split, protocol in zip(rows["split"], rows["protocol"], strict=True)}
        for rows in map(runs.rows_of, run_ids)
    ]
    shared = found[0] & set().union(*found[1:])
    return sorted(each for each in shared if each[1] in PROTOCOLS)


def _with_same_truth(runs: Runs, run_ids: list[str], split: str, protocol: str) -> tuple[list[str], list[str]]:
    """Return the runs whose true masks have the areas of the first one's, and a line for each other.

    Two copies of a set may have the same sentences and other masks. A run without samples is left to the resampling.
    """
    column, areas, kept, problems = f"target_area_{PROTOCOLS[protocol].scored_at}", None, [], []
    for run_id in run_ids:
        try:
            mine = runs.samples(run_id, split, [column])[column].to_numpy()
        except RecordError:
            kept.append(run_id)
            continue
        areas = mine if areas is None else areas
        if len(mine) == len(areas) and (mine != areas).any():
            problems.append(f"paired test without {run_id}: it was scored on other true masks of {split}")
        else:
            kept.append(run_id)
    return kept, problems


def _columns(metric: Metric) -> list[Column]:
    unit = "percent points" if metric.unit == "%" else metric.unit
    return [
        Column(heading="here", group=metric.heading, unit=unit),
        Column(
            heading="95 % interval",
            group=metric.heading,
            unit=unit,
            csv_heading="95 % interval low",
            parts=("95 % interval high",),
        ),
        Column(heading="p", group=metric.heading),
        Column(heading="Holm", group=metric.heading),
    ]


def _lines(resampled: Resampled, run_ids: list[str], metrics: list[Metric]) -> list[Row]:
    """Return a line per run that has the same samples as the first."""
    if run_ids[0] not in resampled.run_ids:
        return []
    first, others = resampled.run_ids.index(run_ids[0]), [name for name in run_ids[1:] if name in resampled.run_ids]
    found: dict[tuple[str, str], Difference] = {}
    for name in others:
        this = resampled.run_ids.index(name)
        for metric, scores in resampled.scores.items():
            if np.isfinite(scores.observed_R[[this, first]]).all():
                found[name, metric] = difference(scores, [this], [first])
    adjusted = dict(zip(found, holm([each.p_value for each in found.values()]), strict=True))
    return [_line(name, run_ids[0], metrics, found, adjusted) for name in others]


def _line(
    name: str,
    first: str,
    metrics: list[Metric],
    found: dict[tuple[str, str], Difference],
    adjusted: dict[tuple[str, str], float],
) -> Row:
    cells = [text_cell(f"{name} − {first}")]
    for metric in metrics:
        each = found.get((name, metric.name))
        if each is None:
            cells += [missing_cell("not scored"), *(text_cell("") for _ in range(3))]
            continue
        shown, low, high = (metric.factor * value for value in (each.observed, each.low, each.high))
        holm_p = adjusted[name, metric.name]
        cells += [
            Cell(text=signed(shown), value=shown, run_ids=(name, first)),
            Cell(text=f"[{signed(low)}, {signed(high)}]", value=round(low, metric.decimals), parts=(high,)),
            Cell(text=p_text(each.p_value), value=each.p_value),
            Cell(text=p_text(holm_p), value=holm_p, rank=1 if holm_p < 0.05 else 0),
        ]
    return Row(cells=tuple(cells))
