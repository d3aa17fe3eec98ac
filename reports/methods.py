"""The comparisons of methods (tables I, II, IX): published lines, then ours, then the difference.

Each column is a split of another data set, so runs are selected per column; all of them are of one protocol and, per
line, of one scale. Where no run on the real sets exists, the synthetic set of that flavour stands in, named as such.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from pipeline.published.tables import number
from reports.captions import cost_sentence
from reports.cost_cells import CostBook
from reports.external import TITLE, external_lines
from reports.layout import Cell, Column, Row, Table, text_cell, with_ranks
from reports.load import Runs
from reports.paper import SPLIT_COLUMNS, STAND_INS, TableSpec, read_notes
from reports.run_selection import RunSelection, Wanted, select_runs
from reports.scores import absence, score_cell
from reports.tables import Built, cost_cells, difference_cell, method_cell, published_rows


def build_methods(name: str, runs: Runs, costs: CostBook, wanted: Wanted) -> Built:
    """Return table I, II or IX with our lines below the published ones."""
    spec, published = published_rows(name)
    splits = [heading for heading in SPLIT_COLUMNS if heading in published.columns]
    columns = tuple(_columns(spec, splits))
    printed: list[Row] = []
    for part, of_part in published.groupby("part", sort=False):
        if part:
            printed.append(Row(kind="section", cells=(text_cell(str(part)),)))
        printed += [Row(cells=tuple(_published_cells(row, spec, splits))) for _, row in of_part.iterrows()]
    ours: list[Row] = []
    choices: list[RunSelection] = []
    for _, row in published[published["variant"] != ""].iterrows():
        found = {heading: _choose(row, heading, runs, wanted) for heading in splits}
        choices += found.values()
        ours += _our_rows(row, spec, found, costs)
    title = Row(kind="section", cells=(text_cell("This project"),))
    theirs, their_notes = external_lines(spec, splits, runs, wanted.protocol)
    if theirs:
        theirs = [Row(kind="section", cells=(text_cell(TITLE),)), *theirs]
    table = Table(
        name=name,
        title=f"Table {spec.numeral}",
        caption=f"{spec.caption}. {_measured(choices, wanted.protocol)}",
        columns=columns,
        rows=(*with_ranks(columns, printed), title, *ours, *theirs),
        notes=(*cost_sentence(spec), *_stand_in_note(choices, theirs), *their_notes, *read_notes(spec.numeral)),
    )
    shown = [choice for choice in choices if len(choice.rows)]
    return Built(table=table, choice=shown[0] if shown else choices[0], published=published, spec=spec)


def _columns(spec: TableSpec, splits: list[str]) -> list[Column]:
    columns = [Column(heading=heading, numeric=False) for heading in ("Methods", *spec.labels)]
    if spec.component:
        columns.append(Column(heading="GFLOPs"))
    for split in splits:
        group, _, heading = split.partition(" ")
        parts = (f"{heading} deviation",)
        columns.append(Column(heading=heading, group=group, better="max", unit="%", parts=parts))
    return columns


def _published_cells(row: pd.Series, spec: TableSpec, splits: list[str]) -> list[Cell]:
    cells = [method_cell(row), *(text_cell(row[label]) for label in spec.labels)]
    if spec.component:
        cells.append(Cell(text=row["GFLOPs"], value=number(row["GFLOPs"])))
    return cells + [Cell(text=row[split], value=number(row[split])) for split in splits]


def _choose(row: pd.Series, heading: str, runs: Runs, wanted: Wanted) -> RunSelection:
    """Choose the runs of one cell: the paper's set and scale first, else the tiny scale, else the set's stand-in."""
    real, _, split = SPLIT_COLUMNS[heading].partition("/")
    scales = [row["scale"], *(["tiny"] if row["scale"] == "base" else [])]
    sets = [real, STAND_INS[real]] if not wanted.data else [wanted.data] * (wanted.data in (real, STAND_INS[real]))
    combined = row["trained_on"] == "combined"
    last = RunSelection(protocol=wanted.protocol, rows=runs.records.iloc[:0], claims=runs.claims.iloc[:0])
    for data in filter(None, sets):
        for scale in scales:
            if wanted.scale not in ("", scale):
                continue
            narrowed = dataclasses.replace(wanted, data=data, split=split, scale=scale)
            last = select_runs(
                runs.records,
                runs.claims,
                [row["variant"]],
                narrowed,
                combined=combined,
                published_split=SPLIT_COLUMNS[heading],
            )
            if last.split:
                return last
    return last


def _our_rows(row: pd.Series, spec: TableSpec, found: dict[str, RunSelection], costs: CostBook) -> list[Row]:
    """Return our line for one of the paper's own lines, a line per scale that has runs, each with its difference."""
    rows = []
    scales = sorted({choice.scale for choice in found.values() if choice.scale}) or [""]
    for scale in scales:
        of_scale = {heading: choice for heading, choice in found.items() if scale and choice.scale == scale}
        label = f"Shared-RIS, {'combined sets' if row['trained_on'] == 'combined' else scale or row['scale']}"
        head = [text_cell(label), text_cell(row[spec.labels[0]]), *(text_cell("") for _ in spec.labels[1:])]
        if spec.component:
            head.append(list(cost_cells(row, spec, costs))[-2])
        cells = [_cell(row, of_scale.get(heading), spec, costs) for heading in found]
        rows.append(Row(kind="ours", cells=(*head, *cells)))
        if any(choice.is_published_data for choice in of_scale.values()):
            rows.append(_difference_row(row, of_scale, dict(zip(found, cells, strict=True)), len(head)))
    return rows


def _cell(row: pd.Series, choice: RunSelection | None, spec: TableSpec, costs: CostBook) -> Cell:
    if choice is None or choice.rows.empty:
        claimed = choice is not None and len(choice.claims) > 0
        return absence(built=bool(row["built"]), claimed=claimed)
    cell = score_cell(choice.rows, spec.metric)
    if choice.is_published_data:
        return cell
    return dataclasses.replace(cell, text=f"{cell.text}§", remark=f"{choice.split}, not comparable")


def _difference_row(row: pd.Series, of_scale: dict[str, RunSelection], ours: dict[str, Cell], head: int) -> Row:
    cells = []
    for heading, cell in ours.items():
        comparable = heading in of_scale and of_scale[heading].is_published_data
        cells.append(difference_cell(cell.value, number(row[heading])) if comparable else text_cell(""))
    blank = [text_cell("") for _ in range(head - 1)]
    return Row(kind="difference", cells=(text_cell("difference to the paper"), *blank, *cells))


def _measured(choices: list[RunSelection], protocol: str) -> str:
    shown = {choice.split: choice for choice in choices if len(choice.rows)}
    if not shown:
        return f"Below the published lines: ours, not run yet (no record under protocol {protocol} fits)."
    parts = [
        f"{split} ({choice.rows['samples'].iloc[0]} expressions, scale {choice.scale}, "
        f"{choice.rows['epochs'].iloc[0]} epochs, seed {', '.join(map(str, sorted(set(choice.rows['seed']))))})"
        for split, choice in shown.items()
    ]
    return f"Below the published lines: ours, protocol {protocol}, on {'; '.join(parts)}."


def _stand_in_note(choices: list[RunSelection], external: list[Row]) -> list[str]:
    other = sorted({choice.split for choice in choices if len(choice.rows) and not choice.is_published_data})
    if not other and any("§" in cell.text for row in external for cell in row.cells):
        return [
            "§ Measured on another set than the column's, or on a part of it: not comparable with published scores."
        ]
    if not other:
        return []
    return [
        f"§ Measured on {', '.join(other)}, in the column of the set that it stands in for, or at the tiny scale: "
        "not comparable with the published scores, hence no difference."
    ]
