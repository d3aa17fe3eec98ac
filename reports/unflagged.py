"""Add columns to a table: the scores on the expressions that reviewers did not flag. Records do not change."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pandas as pd

from pipeline.data.readers.quality_flags import QualityFlags
from pipeline.evaluation.metrics import Metric, columns_in_file, metrics_of, values_of
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.records import RecordError
from reports.captions import count_of
from reports.layout import Cell, Column, Row, missing_cell, with_ranks
from reports.load import Runs
from reports.scores import score_cell
from reports.tables import Built

GROUP = "not flagged"
_IDS = ("sent_id", "ref_id", "image_id", "expression")


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """Metrics of a run on what is left, and the counts of its split."""

    values: dict[str, float | None]
    samples: int
    reviewed: int
    flagged: int


def with_unflagged(built: Built, runs: Runs, flags: QualityFlags) -> tuple[Built, list[str]]:
    """Return the table with a column per main metric, on the expressions that are not flagged, and the problems.

    A table whose columns are splits stays as it is: it has no column for a second count of samples.
    """
    if built.spec.metric or built.choice.rows.empty:
        return built, []
    metrics = [metric for metric in metrics_of("main") if not metric.no_target]
    scored, problems = _score_runs(built, runs, flags, metrics)
    counts = {(one.samples, one.reviewed, one.flagged) for one in scored.values()}
    if not any(reviewed for _, reviewed, _ in counts):
        split = built.choice.split
        return built, [*problems, f"{flags.name} names no expression of {split}: {built.table.name} stays as it is"]
    columns = [
        *built.table.columns,
        *(
            Column(
                heading="here",
                group=f"{metric.heading} {GROUP}",
                better=metric.better,
                unit=metric.unit,
                parts=("here deviation",),
            )
            for metric in metrics
        ),
    ]
    rows = [_row(row, built.choice.rows, scored, metrics) for row in built.table.rows]
    caption = f"{built.table.caption} {_caption(flags, counts)}"
    table = dataclasses.replace(
        built.table, columns=tuple(columns), rows=_ranked(columns, rows, len(metrics)), caption=caption
    )
    return dataclasses.replace(built, table=table), problems


def _score_runs(
    built: Built, runs: Runs, flags: QualityFlags, metrics: list[Metric]
) -> tuple[dict[str, _Scored], list[str]]:
    protocol = PROTOCOLS[built.choice.protocol]
    columns = list(dict.fromkeys([*_IDS, *(name for each in metrics for name in columns_in_file(each, protocol))]))
    scored: dict[str, _Scored] = {}
    problems: list[str] = []
    for run_id in built.choice.rows["run_id"]:
        try:
            samples = runs.samples(run_id, built.choice.split, columns)
            input_size = runs.input_size(run_id) if any("pixels" in each.columns for each in metrics) else 0
        except RecordError as error:
            problems.append(f"{run_id} has no scores on unflagged expressions: {error}")
            continue
        reviewed, flagged = flags.of_samples(*(samples[name].tolist() for name in _IDS))
        left = samples[~flagged]
        values = values_of(metrics, left, protocol, input_size) if len(left) else {}
        scored[run_id] = _Scored(
            values=values, samples=len(samples), reviewed=int(reviewed.sum()), flagged=int(flagged.sum())
        )
    return scored, problems


def _row(row: Row, records: pd.DataFrame, scored: dict[str, _Scored], metrics: list[Metric]) -> Row:
    if row.kind == "section":
        return row
    run_ids = next((cell.run_ids for cell in row.cells if cell.run_ids), ())
    return dataclasses.replace(row, cells=(*row.cells, *(_cell(run_ids, records, scored, each) for each in metrics)))


def _cell(run_ids: tuple[str, ...], records: pd.DataFrame, scored: dict[str, _Scored], metric: Metric) -> Cell:
    if not run_ids:
        return Cell()
    if lost := [run_id for run_id in run_ids if run_id not in scored or scored[run_id].values.get(metric.name) is None]:
        return missing_cell("not scored", f"{', '.join(lost)}: no samples to score")
    mine = records[records["run_id"].isin(run_ids)]
    found = [scored[run_id] for run_id in mine["run_id"]]
    left = mine.assign(samples=[one.samples - one.flagged for one in found])
    left[metric.name] = [one.values[metric.name] for one in found]
    return score_cell(left, metric.name)


def _ranked(columns: list[Column], rows: list[Row], added: int) -> tuple[Row, ...]:
    """Rank the added columns in each part of the table, as the others were ranked when it was built."""
    ranked: list[Row] = []
    part: list[Row] = []
    quiet = [dataclasses.replace(column, better="") for column in columns[:-added]] + columns[-added:]
    for row in [*rows, None]:
        if row is None or row.kind == "section":
            ranked += with_ranks(quiet, part)
            part = []
            ranked += [row] if row is not None else []
        else:
            part.append(row)
    return tuple(ranked)


def _caption(flags: QualityFlags, counts: set[tuple[int, int, int]]) -> str:
    """Return on how many expressions the columns are; runs of one split may differ only where samples are missing."""
    texts = [
        f"{count_of(samples - flagged, 'expression')} of {samples:,} ({flagged:,} are flagged, {reviewed:,} were "
        "reviewed)"
        for samples, reviewed, flagged in sorted(counts)
    ]
    return f"Columns “{GROUP}”: the same runs on {'; '.join(texts)} by {flags.name}."
