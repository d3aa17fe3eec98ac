"""Write a table as JSON: numbers as numbers, each with its unit, its runs and the reason where there is none."""

from __future__ import annotations

import json
import math
from typing import Any

from reports.csv_table import number_text
from reports.layout import Cell, Column, Row, Table


def to_json(table: Table) -> str:
    """Return `{"name", "title", "caption", "notes", "columns": [..], "rows": [..]}` as strict JSON.

    A column has `heading`, `group`, `unit` and `better`. A row has its `part`, its `kind` and one entry per column:
    text, or `{"value", "text"}` and, where they are known, `parts`, `runs`, `detail` and `missing`.
    """
    part = ""
    rows = []
    for row in table.rows:
        if row.kind == "section":
            part = row.cells[0].text
        else:
            rows.append({"part": part, "kind": row.kind, "cells": _cells(table, row)})
    content = {
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "notes": list(table.notes),
        "columns": [
            {"heading": each.heading, "group": each.group, "unit": each.unit, "better": each.better}
            for each in table.columns
        ],
        "rows": rows,
    }
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _cells(table: Table, row: Row) -> list[Any]:
    return [
        _number(column, cell) if column.numeric else cell.text
        for column, cell in zip(table.columns, row.cells, strict=True)
    ]


def _number(column: Column, cell: Cell) -> dict[str, Any]:
    shown = number_text(cell)
    found: dict[str, Any] = {"value": float(shown) if shown else None, "text": cell.text}
    parts = {
        name: part if isinstance(part, str) or math.isfinite(part) else None
        for name, part in zip(column.parts, cell.parts, strict=False)
    }
    for name, value in (("parts", parts), ("runs", list(cell.run_ids)), ("detail", cell.detail)):
        if value:
            found[name] = value
    if cell.missing:
        found["missing"] = cell.text
    return found
