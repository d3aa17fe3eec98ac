"""The paired test of any runs that the user names, ours or external: each with the first, sample by sample.

Runs that differ in the seed only are the seeds of one row: rows are compared, over trainings and images together where
both have several seeds (`reports.two_level`).
"""

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
from reports.stats import DRAWS, Difference, holm
from reports.two_level import compare


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
        lines = _lines(resampled, rows_of(runs, run_ids), metrics)
        if lines:
            title = f"{split}, protocol {protocol}"
            rows += [Row(kind="section", cells=(text_cell(title),)), *lines]
    columns = [Column(heading="Difference", numeric=False)]
    for metric in metrics:
        columns += _columns(metric)
    table = Table(
        name="compare-paired",
        title="Paired test",
        caption=f"Differences to {_name(rows_of(runs, run_ids)[0])}. {_method(rows_of(runs, run_ids))}, {draws} draws; "
        "Holm over the differences of one split and protocol; bold: below 0.05.",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=_notes(runs, run_ids, has_rows=bool(rows)),
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


def _lines(resampled: Resampled, rows: list[list[str]], metrics: list[Metric]) -> list[Row]:
    """Return a line per row whose runs have the same samples as the first."""
    columns = [[resampled.run_ids.index(run_id) for run_id in row if run_id in resampled.run_ids] for row in rows]
    if not columns[0]:
        return []
    found: dict[tuple[int, str], Difference] = {}
    others = [place for place in range(1, len(rows)) if columns[place]]
    for place in others:
        for metric, scores in resampled.scores.items():
            if np.isfinite(scores.observed_R[[*columns[place], *columns[0]]]).all():
                found[place, metric] = compare(scores, columns[place], columns[0])
    adjusted = dict(zip(found, holm([each.p_value for each in found.values()]), strict=True))
    names = [[resampled.run_ids[column] for column in of_row] for of_row in columns]
    lines = []
    for place in others:
        of_row = {name: (each, adjusted[at, name]) for (at, name), each in found.items() if at == place}
        lines.append(_line(names[place], names[0], metrics, of_row))
    return lines


def _line(row: list[str], first: list[str], metrics: list[Metric], found: dict[str, tuple[Difference, float]]) -> Row:
    cells = [text_cell(f"{_name(row)} − {_name(first)}")]
    for metric in metrics:
        if metric.name not in found:
            cells += [missing_cell("not scored"), *(text_cell("") for _ in range(3))]
            continue
        each, holm_p = found[metric.name]
        shown, low, high = (metric.factor * value for value in (each.observed, each.low, each.high))
        cells += [
            Cell(text=signed(shown), value=shown, run_ids=(*row, *first)),
            Cell(text=f"[{signed(low)}, {signed(high)}]", value=round(low, metric.decimals), parts=(high,)),
            Cell(text=p_text(each.p_value), value=each.p_value),
            Cell(text=p_text(holm_p), value=holm_p, rank=1 if holm_p < 0.05 else 0),
        ]
    return Row(cells=tuple(cells))


def rows_of(runs: Runs, run_ids: list[str]) -> list[list[str]]:
    """Return the named runs in rows, in the order of their first run: the seeds of one training make a row."""
    found: dict[tuple[str, ...], list[str]] = {}
    for run_id in run_ids:
        found.setdefault(_training(runs, run_id), []).append(run_id)
    return list(found.values())


def _training(runs: Runs, run_id: str) -> tuple[str, ...]:
    """Return what the seeds of a training share; masks of others and runs without a recipe are alone."""
    first = runs.rows_of(run_id).iloc[0]
    if first["training"] == "external" or pd.isna(first["recipe"]):
        return (run_id,)
    return tuple(str(first[name]) for name in ("variant", "scale", "trained_on", "recipe"))


def _name(row: list[str]) -> str:
    return row[0] if len(row) == 1 else f"{row[0]} ({len(row)} seeds)"


def _method(rows: list[list[str]]) -> str:
    several = [len(row) > 1 for row in rows]
    if not any(several):
        return "Paired bootstrap over images"
    over = "Intervals and p over trainings and images"
    return over if all(several) else f"{over} where both rows have several seeds, else paired bootstrap over images"


def _notes(runs: Runs, run_ids: list[str], *, has_rows: bool) -> tuple[str, ...]:
    if not has_rows:
        return ("The runs share no split and protocol with per-sample rows of the same samples.",)
    named = {_training(runs, run_id) for run_id in run_ids}
    others = [each for each in runs.run_ids if each not in run_ids and _training(runs, each) in named]
    if not others:
        return ()
    return (f"Other seeds of these rows were not named: {', '.join(others[:8])}.",)
