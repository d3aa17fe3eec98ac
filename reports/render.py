"""Write a table as text for the terminal and as Markdown (CSV, LaTeX: `reports.csv_table`, `reports.latex`)."""

from __future__ import annotations

import unicodedata
from itertools import groupby

from reports.layout import Cell, Column, Row, Table

SPARK = {1: ("**", "**"), 2: ("<u>", "</u>")}


def column_groups(table: Table) -> list[tuple[str, int]]:
    """Return the common headings and how many columns each spans, "" for columns without one."""
    return [(group, len(list(columns))) for group, columns in groupby(table.columns, key=lambda column: column.group)]


def flat_headings(table: Table) -> list[str]:
    """Return one heading per column, the common one included: "oIoU paper"."""
    return [f"{column.group} {column.heading}".strip() for column in table.columns]


def to_markdown(table: Table) -> str:
    """Return the table as a Markdown pipe table with caption and footnotes; best bold, second underlined."""
    lines = [f"**{table.title}.** {escape_markdown(table.caption)}", ""]
    lines.append("| " + " | ".join(flat_headings(table)) + " |")
    lines.append("|" + "|".join("---:" if column.numeric else "---" for column in table.columns) + "|")
    for row in table.rows:
        if row.kind == "section":
            cells = [f"*{escape_markdown(row.cells[0].text)}*", *[""] * (len(table.columns) - 1)]
        else:
            cells = [_markdown_cell(cell) for cell in row.cells]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {escape_markdown(note)}" for note in table.notes]
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """Return text with the characters that Markdown or HTML would act on made plain."""
    for letter in "\\`*_{}[]|":
        text = text.replace(letter, f"\\{letter}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def _markdown_cell(cell: Cell) -> str:
    before, after = SPARK.get(cell.rank, ("", ""))
    text = escape_markdown(cell.text)
    return f"*{text}*" if cell.missing and text else f"{before}{text}{after}"


def to_text(table: Table, width: int = 110) -> str:
    """Return the table for a terminal: aligned columns, stars for the best, notes wrapped below."""
    body = [_text_cells(row) for row in table.rows if row.kind != "section"]
    widths = [
        max(_width(column.heading), *(_width(cells[position]) for cells in body)) if body else _width(column.heading)
        for position, column in enumerate(table.columns)
    ]
    gap = "  "
    _widen_for_groups(table, widths, len(gap))
    total = sum(widths) + len(gap) * (len(widths) - 1)
    lines = [*_wrap(f"{table.title}. {table.caption}", max(width, min(total, 140))), ""]
    if any(column.group for column in table.columns):
        lines.append(_group_line(table, widths, gap))
    lines.append(
        gap.join(_pad(column.heading, size, column) for column, size in zip(table.columns, widths, strict=True))
    )
    lines.append("-" * total)
    remaining = iter(body)
    for row in table.rows:
        if row.kind == "section":
            lines.append(row.cells[0].text)
            continue
        cells = next(remaining)
        padded = [_pad(text, size, column) for text, size, column in zip(cells, widths, table.columns, strict=True)]
        lines.append(gap.join(padded).rstrip())
    lines += ["-" * total, "best **, second best *"] if _has_ranks(table) else ["-" * total]
    for note in table.notes:
        lines += _wrap(note, max(width, min(total, 140)), "  ")
    return "\n".join(lines) + "\n"


def _has_ranks(table: Table) -> bool:
    return any(cell.rank for row in table.rows for cell in row.cells)


def _text_cells(row: Row) -> list[str]:
    stars = {1: "**", 2: "*"}
    return [f"{cell.text}{stars.get(cell.rank, '')}" for cell in row.cells]


def _group_line(table: Table, widths: list[int], gap: str) -> str:
    parts, start = [], 0
    for name, span in column_groups(table):
        size = sum(widths[start : start + span]) + len(gap) * (span - 1)
        parts.append(f" {name} ".center(size, "-") if name else " " * size)
        start += span
    return gap.join(parts).rstrip()


def _widen_for_groups(table: Table, widths: list[int], gap: int) -> None:
    start = 0
    for name, span in column_groups(table):
        lacking = len(name) + 2 - (sum(widths[start : start + span]) + gap * (span - 1)) if name else 0
        widths[start + span - 1] += max(0, lacking)
        start += span


def _pad(text: str, size: int, column: Column) -> str:
    blank = " " * (size - _width(text))
    return blank + text if column.numeric else text + blank


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(0 if unicodedata.combining(letter) else 1 for letter in text)


def _wrap(text: str, width: int, indent: str = "") -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = indent
        line = f"{line} {word}" if line.strip() else f"{line}{word}"
    return [*lines, line] if line.strip() else lines
