"""The layouts of a table: side by side with the paper, the paper's own with ours added, ours only.

A style takes columns and rows out of a finished table, so every style shows the same numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from pipeline.evaluation.metrics import metrics_of
from reports.captions import AUTHORS_DATA, HERE_COLUMNS, PAPER_COLUMNS
from reports.layout import Column, Row, Table

PAPER, HERE = "paper", "here"
OURS_GROUP = "This work"


def side_by_side(table: Table) -> Table:
    """Return the table as it is: the paper's numbers, ours and their differences in neighboring columns."""
    return table


def as_in_paper(table: Table) -> Table:
    """Return the paper's columns and rows, with a column of ours per main metric, or our rows below the paper's."""
    main = [metric.heading for metric in metrics_of("main")]
    chosen: list[tuple[int, Column]] = []
    ours: list[tuple[int, Column]] = []
    for position, column in enumerate(table.columns):
        if not _is_measured_here(column) and column.heading not in (PAPER, "diff."):
            chosen.append((position, column))
        elif column.heading == PAPER:
            chosen.append((position, _plain(column)))
        elif _is_measured_here(column) and column.group in main:
            ours.append((position, dataclasses.replace(column, heading=column.group, group=OURS_GROUP)))
    shown = _with_columns(table, [*chosen, *ours], lambda row: row.kind != "difference")
    caption = table.caption.replace(PAPER_COLUMNS, "Printed in the paper:").replace(HERE_COLUMNS, f"{OURS_GROUP}:")
    return dataclasses.replace(shown, caption=caption)


def ours_only(table: Table) -> Table:
    """Return only what was measured here."""
    by_rows = any(row.kind == "ours" for row in table.rows) and not any(map(_is_measured_here, table.columns))
    chosen = [
        (position, _plain(column) if _is_measured_here(column) else column)
        for position, column in enumerate(table.columns)
        if column.heading not in (PAPER, "diff.")
    ]
    shown = _with_columns(table, chosen, (lambda row: row.kind == "ours") if by_rows else (lambda row: True))
    caption = table.caption.replace(f"{PAPER_COLUMNS} {AUTHORS_DATA} ", "").replace(HERE_COLUMNS, "Measured on")
    return dataclasses.replace(shown, caption=caption)


STYLES: dict[str, Callable[[Table], Table]] = {
    "side-by-side": side_by_side,
    "paper": as_in_paper,
    "ours": ours_only,
}
"""Name -> style, as `sharedris report --style` takes it."""


def in_style(table: Table, style: str) -> Table:
    """Return the table in one of STYLES; its name ends with the style's, so that no file of another is replaced."""
    shown = STYLES[style](table)
    return shown if shown is table else dataclasses.replace(shown, name=f"{table.name}-{style}")


def _is_measured_here(column: Column) -> bool:
    return column.heading == HERE


def _plain(column: Column) -> Column:
    """Return a column of the paper's or of ours by its common heading, which it no longer shares."""
    parts = tuple(f"{column.group} {part.removeprefix(HERE).strip()}" for part in column.parts)
    return dataclasses.replace(column, heading=column.group, group="", parts=parts)


def _with_columns(table: Table, chosen: list[tuple[int, Column]], keep: Callable[[Row], bool]) -> Table:
    rows = []
    for row in filter(keep, table.rows):
        cells = row.cells if row.kind == "section" else tuple(row.cells[position] for position, _ in chosen)
        rows.append(dataclasses.replace(row, cells=cells))
    return dataclasses.replace(table, columns=tuple(column for _, column in chosen), rows=tuple(rows))
