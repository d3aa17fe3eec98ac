"""Cells of a LaTeX table: numbers of a column that align on their decimals, without a package.

All numbers are set flush right. What follows the digits (a deviation, a mark) differs from row to row, so the shorter
cells are filled with the same signs, invisible.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.published.tables import citation_keys
from reports.latex_text import escape_latex
from reports.layout import Cell, Column, Row, Table


@dataclass(frozen=True, kw_only=True)
class ColumnForm:
    """What the numbers of one column share: the longest decimals, the longest text after them, and a unit letter.

    `deviation_size` is the LaTeX command for the type size of a deviation, empty for that of the table.
    """

    decimals: int = 0
    tail: str = ""
    unit: str = ""
    deviation_size: str = ""


def column_form(table: Table, position: int, *, deviation_size: str = "") -> ColumnForm:
    """Return the form of a numeric column."""
    column = table.columns[position]
    texts = [row.cells[position].text for row in _lines(table) if row.cells[position].value is not None]
    unit = column.unit if column.unit.isalpha() and any(text.endswith(column.unit) for text in texts) else ""
    split = [_split(text.removesuffix(unit)) for text in texts]
    return ColumnForm(
        decimals=max((len(decimals) for _, decimals, _ in split), default=0),
        tail=max((tail for _, _, tail in split), key=len, default=""),
        unit=unit,
        deviation_size=deviation_size,
    )


def latex_cell(cell: Cell, column: Column, form: ColumnForm) -> str:
    """Return a cell as LaTeX: best bold, second underlined, words in the middle of a column of numbers."""
    if cell.missing or not column.numeric or cell.value is None:
        return _words(cell, column)
    digits, decimals, tail = _split(cell.text.removesuffix(form.unit))
    number = escape_latex(f"{digits}.{decimals}" if decimals else digits)
    marked = {1: rf"\textbf{{{number}}}", 2: rf"\underline{{{number}}}"}.get(cell.rank, number)
    missing = f".{'0' * form.decimals}" if form.decimals and not decimals else "0" * (form.decimals - len(decimals))
    fill = missing + ("" if tail else form.tail)
    size = form.deviation_size
    return f"{marked}{_tail(tail, size)}" + (rf"\phantom{{{_tail(fill, size)}}}" if fill else "")


def _lines(table: Table) -> list[Row]:
    return [row for row in table.rows if row.kind != "section"]


def _split(text: str) -> tuple[str, str, str]:
    """Return digits, decimals and what follows: "58.10 ± 0.40" gives ("58", "10", " ± 0.40")."""
    found = re.match(r"([+−-]?[\d,]+)(?:\.(\d+))?(.*)", text, re.DOTALL)
    return (found[1], found[2] or "", found[3]) if found else (text, "", "")


def _tail(text: str, size: str) -> str:
    """Return what follows a number, a deviation in signs of a size."""
    if not text.strip().startswith("±"):
        return escape_latex(text)
    return rf"\,{{{size}$\pm$\,{escape_latex(text.strip()[1:].strip())}}}"


def _words(cell: Cell, column: Column) -> str:
    key = citation_keys().get(cell.citation)
    if key is not None:
        return rf"{escape_latex(cell.text.removesuffix(cell.citation).rstrip())}~\cite{{{key}}}"
    text = escape_latex(cell.text)
    if cell.missing and text:
        text = rf"\textit{{{text}}}"
    return rf"\multicolumn{{1}}{{c}}{{{text}}}" if column.numeric and text else text
