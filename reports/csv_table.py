"""Write a table as CSV that pandas reads: a numeric column holds only numbers, or nothing where there is none.

Columns: `part` (the section), the table's columns with units in the headings, `remarks` ("oIoU here: not run"), `runs`
(ids), and where the numbers come from.
"""

from __future__ import annotations

import csv
import io
import math
import re

from reports.layout import Cell, Column, Row, Table

LAST_HEADINGS = ("remarks", "runs", "split, protocol, scale, seeds")


def to_csv(table: Table) -> str:
    """Return the table as CSV with a header line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    headings = [heading for column in table.columns for heading in _headings(column)]
    writer.writerow(["part", *headings, *LAST_HEADINGS])
    part = ""
    for row in table.rows:
        if row.kind == "section":
            part = row.cells[0].text
        else:
            writer.writerow([part, *_fields(table, row), *_last_fields(table, row)])
    return out.getvalue()


def _name(column: Column) -> str:
    return f"{column.group} {column.csv_heading or column.heading}".strip()


def _headings(column: Column) -> list[str]:
    unit = f" ({column.unit})" if column.unit else ""
    return [_name(column) + unit, *(f"{column.group} {part}".strip() + unit for part in column.parts)]


def _fields(table: Table, row: Row) -> list[str]:
    fields: list[str] = []
    for column, cell in zip(table.columns, row.cells, strict=True):
        fields.append(number_text(cell) if column.numeric else cell.text)
        parts = cell.parts or ("",) * len(column.parts)
        fields += [_part_text(part) for part in parts]
    return fields


def _last_fields(table: Table, row: Row) -> list[str]:
    remarks = [
        f"{_name(column)}: {cell.remark}" for column, cell in zip(table.columns, row.cells, strict=True) if cell.remark
    ]
    runs = dict.fromkeys(run for cell in row.cells for run in cell.run_ids)
    details = dict.fromkeys(cell.detail for cell in row.cells if cell.run_ids)
    return ["; ".join(remarks), " ".join(runs), "; ".join(details)]


def number_text(cell: Cell) -> str:
    """Return a cell's number with the decimals that its text shows, "" where it has none or one that is not finite."""
    if cell.value is None or not math.isfinite(cell.value):
        return ""
    # "−0.40", "13,026", "8.01M", "58.10 ± 0.40": the text gives the decimals, and only the value gives the digits.
    shown = re.match(r"[+−-]?[\d,]+(?:\.(\d+))?", cell.text)
    return f"{cell.value:.{len(shown[1] or '')}f}" if shown else f"{cell.value:.6g}"


def _part_text(part: float | str) -> str:
    if isinstance(part, str):
        return part
    return f"{part:.2f}" if math.isfinite(part) else ""
