"""Build the table of a user's own sweep: every metric and the costs of its rows, from the records alone."""

from __future__ import annotations

import pandas as pd

from pipeline.evaluation.metrics import Metric, shown_metrics
from reports.captions import measured_on, recipe_note, scores_by_their_code, trivial_answers
from reports.layout import Cell, Column, Row, Table, text_cell, with_ranks
from reports.load import Runs
from reports.run_selection import RunSelection, Wanted, select_runs
from reports.scores import absence, score_cell
from reports.sweep_tables import SweepTable, lines_of, records_of
from reports.tables import Built

COSTS = (("Params", "M", "million_params"), ("GFLOPs", "", "gmacs"))


def build_sweep_table(table: SweepTable, runs: Runs, wanted: Wanted) -> Built:
    """Return the table of a sweep that the paper does not have."""
    lines = lines_of(table)
    choice = select_runs(
        records_of(table, runs.records), records_of(table, runs.claims), list(lines["variant"]), wanted, any_sets=True
    )
    metrics = shown_metrics(choice.rows, "main", "detail")
    columns = _columns(metrics)
    rows = [Row(cells=tuple(_cells(line, choice, metrics))) for _, line in lines.iterrows()]
    built = Table(
        name=table.name,
        title=f"Sweep {table.spec.short}",
        caption=f"{table.spec.caption}. {measured_on(choice)}",
        columns=columns,
        rows=with_ranks(columns, rows),
        notes=(
            "Params and GFLOPs: of the whole model at the scale of the runs, measured by fvcore; what the paper prints "
            "as GFLOPs are multiply-accumulates (GMACs).",
            *recipe_note(choice),
            *trivial_answers(choice),
            *scores_by_their_code(choice, dict(zip(lines["variant"], lines["method"], strict=True))),
        ),
    )
    return Built(table=built, choice=choice, published=lines, spec=table.spec)


def _columns(metrics: list[Metric]) -> tuple[Column, ...]:
    scores = (
        Column(
            heading=metric.heading,
            group=metric.group,
            better=metric.better,
            unit=metric.unit,
            parts=(f"{metric.heading} deviation",),
        )
        for metric in metrics
    )
    costs = (Column(heading=heading, unit=unit) for heading, unit, _ in COSTS)
    return (Column(heading="Row", numeric=False), Column(heading="seeds"), *costs, *scores)


def _cells(line: pd.Series, choice: RunSelection, metrics: list[Metric]) -> list[Cell]:
    mine = choice.rows[choice.rows["variant"] == line["variant"]]
    seeds = mine["seed"].nunique()
    cells = [text_cell(line["method"]), Cell(text=str(seeds), value=float(seeds))]
    for _, unit, field in COSTS:
        value = mine[field].dropna().astype(float).mean() if len(mine) else float("nan")
        cells.append(text_cell("") if pd.isna(value) else Cell(text=f"{value:.2f}{unit}", value=float(value)))
    claimed = line["variant"] in set(choice.claims["variant"])
    missing = absence(built=bool(line["built"]), claimed=claimed)
    return cells + [score_cell(mine, metric.name) if len(mine) else missing for metric in metrics]
