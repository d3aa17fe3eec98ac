"""Build the paper's tables from published rows, records and costs.

An ablation (III to VIII, X) is one line per cell with the paper's number, ours and, where both were taken on the same
data, the difference. A comparison of methods (I, II, IX) keeps the published lines and adds ours below them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.metrics import Metric, added_metrics
from pipeline.published.tables import number, read_published
from reports.captions import ablation_caption, cost_sentence, recipe_note, scores_by_their_code, trivial_answers
from reports.cost_cells import CostBook
from reports.layout import Cell, Column, Row, Table, missing_cell, text_cell, with_ranks
from reports.load import Runs
from reports.paper import METRIC_COLUMNS, SPECS, TableSpec, read_notes, split_name
from reports.run_selection import RunSelection, Wanted, select_runs
from reports.scores import absence, score_cell
from reports.sweep_tables import added_rows, known_variants
from sweeps.registry import SWEEPS
from sweeps.spec import Sweep

OURS = " (ours)"
"""Mark of a row that a sweep has in a table of the paper and the paper has not."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A table, the runs that it was made from, and the published rows that it joins."""

    table: Table
    choice: RunSelection
    published: pd.DataFrame
    spec: TableSpec

    @property
    def is_of_paper(self) -> bool:
        """Whether the paper has this table."""
        return bool(self.spec.published_split)


def published_rows(name: str, sweeps: Mapping[str, Sweep] | None = None) -> tuple[TableSpec, pd.DataFrame]:
    """Return the spec and the rows of a table or of one part of it ("VII-a"): published, then those of sweeps only."""
    numeral, letter = split_name(name)
    rows = read_published(numeral)
    parts = [part for part in rows["part"].unique() if not letter or part.startswith(f"({letter})")]
    found = []
    for part in parts:
        of_part = rows[rows["part"] == part]
        own = added_rows(
            f"{numeral}-{part[1]}" if part.startswith("(") else numeral, set(of_part["variant"]), sweeps or {}
        )
        found += [of_part, own.assign(part=part)]
    joined = pd.concat([frame for frame in found if len(frame)], ignore_index=True)
    joined = joined.fillna("")
    return SPECS[numeral], joined.assign(built=joined["variant"].isin(known_variants(SWEEPS)))


def build_ablation(
    name: str, runs: Runs, costs: CostBook, wanted: Wanted, sweeps: Mapping[str, Sweep] | None = None
) -> Built:
    """Return an ablation table: published and measured cells side by side, in the paper's order and labels."""
    spec, published = published_rows(name, SWEEPS if sweeps is None else sweeps)
    choice = select_runs(
        runs.records, runs.claims, list(published["variant"]), wanted, published_split=spec.published_split
    )
    metrics = [heading for heading in published.columns if heading in METRIC_COLUMNS]
    columns = _ablation_columns(spec, metrics, with_difference=choice.is_published_data)
    rows: list[Row] = []
    for part, of_part in published.groupby("part", sort=False):
        if part and published["part"].nunique() > 1:
            rows.append(Row(kind="section", cells=(text_cell(str(part)),)))
        lines = [
            Row(
                cells=tuple(_ablation_cells(row, spec, metrics, choice, costs)),
                kind="ours" if row["marks"] == OURS else "row",
            )
            for _, row in of_part.iterrows()
        ]
        rows += with_ranks(columns, lines)
    part_name = published["part"].iloc[0] if "-" in name else ""
    table = Table(
        name=name,
        title=f"Table {spec.numeral}{part_name[:3]}",
        caption=ablation_caption(spec, part_name, choice),
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(
            *recipe_note(choice),
            *cost_sentence(spec),
            *trivial_answers(choice),
            *scores_by_their_code(choice, dict(zip(published["variant"], published["method"], strict=True))),
            *read_notes(spec.numeral, part_name),
        ),
    )
    return Built(table=table, choice=choice, published=published, spec=spec)


def _ablation_columns(spec: TableSpec, metrics: list[str], *, with_difference: bool) -> list[Column]:
    columns = [Column(heading=heading, numeric=False) for heading in _label_headings(spec)]
    if spec.component:
        for group, unit in (("Params", "M"), ("GFLOPs", "")):
            columns += [Column(heading=heading, group=group, unit=unit) for heading in ("paper", "here", "diff.")]
    for group in metrics:
        columns.append(Column(heading="paper", group=group, better="max", unit="%"))
        columns.append(Column(heading="here", group=group, better="max", unit="%", parts=("here deviation",)))
        if with_difference:
            columns.append(Column(heading="diff.", group=group, unit="percent points"))
    for metric in _added_main():
        parts = ("here deviation",)
        columns.append(
            Column(heading="here", group=metric.heading, better=metric.better, unit=metric.unit, parts=parts)
        )
    return columns


def _added_main() -> list[Metric]:
    """Return the metrics that plugins added and every table shows, which the paper prints none of."""
    return [metric for metric in added_metrics() if metric.role == "main"]


def _label_headings(spec: TableSpec) -> tuple[str, ...]:
    return spec.labels if spec.numeral == "III" else (spec.first_heading, *spec.labels)


def _ablation_cells(
    row: pd.Series, spec: TableSpec, metrics: list[str], choice: RunSelection, costs: CostBook
) -> Iterator[Cell]:
    if spec.numeral != "III":
        yield method_cell(row)
    yield from (text_cell(row[label]) for label in spec.labels)
    if spec.component:
        yield from cost_cells(row, spec, costs)
    mine = choice.rows[choice.rows["variant"] == row["variant"]]
    claimed = row["variant"] in set(choice.claims["variant"])
    absent = absence(built=bool(row["built"]), claimed=claimed)
    for heading in metrics:
        published = number(row[heading])
        yield Cell(text=row[heading], value=published)
        ours = score_cell(mine, METRIC_COLUMNS[heading]) if len(mine) else absent
        yield ours
        if choice.is_published_data:
            yield difference_cell(ours.value, published)
    for metric in _added_main():
        yield score_cell(mine, metric.name) if len(mine) else absent


def method_cell(row: pd.Series) -> Cell:
    """Return the label of a row with the reference that it ends with."""
    return Cell(text=method_label(row), citation=row["citation"])


def method_label(row: pd.Series) -> str:
    """Return the paper's label of a row: name, marks and citation."""
    return f"{row['method']}{row['marks']}{' ' + row['citation'] if row['citation'] else ''}"


def cost_cells(row: pd.Series, spec: TableSpec, costs: CostBook) -> Iterator[Cell]:
    """Yield parameters (paper, here, difference) and GMACs (the same) at the paper's scale."""
    cost = costs.cell(spec.component, row["scale"], row["variant"]) if row["variant"] else None
    is_baseline = spec.component == "fpn" and "fpn=none()" in row["variant"]
    for heading, unit, field in (("Params", "M", "million_params"), ("GFLOPs", "", "gmacs")):
        printed = row.get(heading, "-")
        published = number(printed)
        yield Cell(text=printed, value=published)
        if is_baseline:
            yield Cell(text="-", detail="the baseline that the added cost is taken over")
            yield text_cell("-")
        elif cost is None:
            yield missing_cell("not measured" if row["variant"] else "", f"no cost file at scale {row['scale']}")
            yield text_cell("")
        else:
            measured = getattr(cost, field)
            yield Cell(text=f"{measured:.2f}{unit}", value=measured, detail=f"fvcore, scale {row['scale']}")
            yield difference_cell(measured, published)


def difference_cell(ours: float | None, published: float | None) -> Cell:
    """Return ours minus the paper's with its sign, empty where one of them is missing."""
    if ours is None or published is None:
        return text_cell("")
    return Cell(text=f"{ours - published:+.2f}".replace("-", "−"), value=ours - published)
