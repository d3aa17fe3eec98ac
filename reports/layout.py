"""A table before it is written: columns, rows and cells that every output format renders from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

RowKind = Literal["row", "section", "ours", "difference"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: plain text as shown, its number where it has one, and the runs it comes from."""

    text: str = ""
    value: float | None = None
    rank: int = 0  # 1 the best of its column, 2 the second
    run_ids: tuple[str, ...] = ()
    detail: str = ""  # where the number comes from, one line
    missing: bool = False  # "not run", "not built": shown, never hidden
    parts: tuple[float | str, ...] = ()  # for `Column.parts`, in their order; empty where there are none
    remark: str = ""  # words that stand in the remarks of a CSV row, where a column holds only numbers
    citation: str = ""  # "[21]", the paper's reference at the end of `text`; LaTeX cites it


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; columns of one group stand next to each other below a common heading.

    `unit`, `csv_heading` and `parts` are for CSV files, where a numeric column holds only numbers: the unit goes into
    the heading, and each part of a cell ("deviation" of "58.10 ± 0.40") into a column that follows.
    """

    heading: str
    group: str = ""
    numeric: bool = True
    better: Literal["max", "min", ""] = ""
    unit: str = ""
    csv_heading: str = ""  # where it differs from `heading`
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table. A `section` has one cell, which spans the table."""

    cells: tuple[Cell, ...]
    kind: RowKind = "row"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with its caption and footnotes."""

    name: str  # "VII-a": file names and anchors
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for row in self.rows:
            expected = 1 if row.kind == "section" else len(self.columns)
            if len(row.cells) != expected:
                raise ValueError(f"table {self.name}: a row of {len(row.cells)} cells, {expected} expected")
            for column, cell in zip(self.columns, row.cells, strict=False):
                if cell.parts and len(cell.parts) != len(column.parts):
                    raise ValueError(f"table {self.name}: a cell of {column.heading!r} has {len(cell.parts)} parts")


def text_cell(text: str) -> Cell:
    """Return a cell that holds words."""
    return Cell(text=text)


def missing_cell(reason: str, detail: str = "") -> Cell:
    """Return a cell with the reason why it has no number."""
    return Cell(text=reason, missing=True, detail=detail, remark=reason)


def with_ranks(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows with the best (1) and second best (2) value of each ranked column marked; ties share a rank.

    Ranks are taken over the values as shown, so that two cells that print the same are marked the same. Sections and
    differences are not ranked.
    """
    ranked = [list(row.cells) for row in rows]
    lines = [number for number, row in enumerate(rows) if row.kind not in ("section", "difference")]
    for position, column in enumerate(columns):
        if not column.better:
            continue
        sign = -1.0 if column.better == "max" else 1.0
        values = {line: ranked[line][position].value for line in lines}
        shown = {line: sign * value for line, value in values.items() if value is not None}
        order = sorted(set(shown.values()))
        if len(order) < 2:
            continue
        for line, value in shown.items():
            rank = order.index(value) + 1
            if rank <= 2:
                ranked[line][position] = dataclasses.replace(ranked[line][position], rank=rank)
    return tuple(dataclasses.replace(row, cells=tuple(cells)) for row, cells in zip(rows, ranked, strict=True))
