r"""Write a table as LaTeX that goes into a paper: booktabs, best bold, second underlined, sections, footnotes.

A document needs `\usepackage{booktabs}`, `\usepackage[utf8]{inputenc}` and, for the citations, references.bib. The type
size follows from the table's width, so that it fits one or both columns of a paper. Text from data is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.latex_cells import ColumnForm, column_form, latex_cell
from reports.latex_text import escape_latex
from reports.layout import Row, Table
from reports.render import column_groups

PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{booktabs}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\begin{document}
\pagestyle{empty}
"""
BIBLIOGRAPHY = r"""
\clearpage
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""

COLUMN, PAGE = 200.0, 410.0
"""Width in points that a table may take: of one column, and of both, in the narrower of the common classes."""

SIZES = ((r"\footnotesize", 4.25, 4.0), (r"\scriptsize", 3.98, 2.5), (r"\tiny", 3.4, 1.6))
"""Type size, width of a digit in Computer Modern in points, and the space on both sides of a column."""


def to_latex(table: Table) -> str:
    """Return the table as a float: over one column where it fits, else over both, in a size that fits."""
    alignment = "".join("r" if column.numeric else "l" for column in table.columns)
    environment, size, separation = _fit(table)
    # In a smaller table the deviations have its own size: \scriptsize is larger than \tiny.
    deviation_size = r"\scriptsize " if size == SIZES[0][0] else ""
    forms = [column_form(table, position, deviation_size=deviation_size) for position in range(len(table.columns))]
    lines = [
        rf"\begin{{{environment}}}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        rf"\label{{tab:{table.name.lower()}}}",
        rf"{size}\setlength{{\tabcolsep}}{{{separation}pt}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *_headings(table, forms),
        r"\midrule",
        *_body(table, forms),
        r"\bottomrule",
        r"\end{tabular}",
        *_footnotes(table.notes),
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def to_document(tables: Sequence[Table]) -> str:
    """Return a whole document of tables, a page each, for looking at them."""
    pages = "\n\\clearpage\n".join(to_latex(table) for table in tables)
    return f"{PREAMBLE}{pages}{BIBLIOGRAPHY}"


def _fit(table: Table) -> tuple[str, str, float]:
    """Return environment, type size and column separation: the largest size that fits, in one column if it can."""
    digits = sum(_digits(table, position) for position in range(len(table.columns)))
    for environment, width in (("table", COLUMN), ("table*", PAGE)):
        # Below \footnotesize only both columns are taken: small print in one column is hard to read.
        for size, digit, separation in SIZES[:1] if environment == "table" else SIZES:
            if digits * digit + 2 * separation * len(table.columns) <= width:
                return environment, size, separation
    size, _, separation = SIZES[-1]
    return "table*", size, separation


def _digits(table: Table, position: int) -> float:
    """Return the width of a column in digits, the sign that most columns are made of."""
    column = table.columns[position]
    cells = [row.cells[position].text for row in table.rows if row.kind != "section"]
    return max(sum(map(_width, text)) for text in (column.heading, *cells))


def _width(sign: str) -> float:
    """Return the width of a sign, a digit's being 1."""
    if sign.isupper() or sign in "±+−×≥≤Δ":
        return 1.45
    if sign.isalnum():
        return 1.0 if sign.isdigit() or sign in "mw" else 0.9
    return 0.62


def _headings(table: Table, forms: list[ColumnForm]) -> list[str]:
    lines = []
    if any(column.group for column in table.columns):
        cells, rules, start = [], [], 1
        for name, span in column_groups(table):
            units = {form.unit for form in forms[start - 1 : start - 1 + span]} - {""}
            if name:
                text = escape_latex(_with_unit(name, units))
                cells.append(rf"\multicolumn{{{span}}}{{c}}{{{text}}}")
                rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
            else:
                cells += [""] * span
            start += span
        lines += [" & ".join(cells) + r" \\", "".join(rules)]
    texts = [
        _with_unit(column.heading, set() if column.group else {form.unit} - {""})
        for column, form in zip(table.columns, forms, strict=True)
    ]
    headings = [
        rf"\multicolumn{{1}}{{c}}{{{escape_latex(text)}}}" if column.numeric else escape_latex(text)
        for column, text in zip(table.columns, texts, strict=True)
    ]
    lines.append(" & ".join(headings) + r" \\")
    return lines


def _with_unit(heading: str, units: set[str]) -> str:
    return f"{heading} ({', '.join(sorted(units))})" if units else heading


def _body(table: Table, forms: list[ColumnForm]) -> list[str]:
    lines: list[str] = []
    for row in table.rows:
        if row.kind == "section":
            if lines:
                lines.append(r"\midrule")
            lines.append(
                rf"\multicolumn{{{len(table.columns)}}}{{l}}{{\textit{{{escape_latex(row.cells[0].text)}}}}} \\"
            )
        else:
            lines.append(_line(table, row, forms))
    return lines


def _line(table: Table, row: Row, forms: list[ColumnForm]) -> str:
    cells = zip(row.cells, table.columns, forms, strict=True)
    return " & ".join(latex_cell(cell, column, form) for cell, column, form in cells) + r" \\"


def _footnotes(notes: Sequence[str]) -> list[str]:
    if not notes:
        return []
    lines = [r"\\[1ex]", r"\begin{minipage}{\linewidth}\footnotesize"]
    lines += [rf"{escape_latex(note)}\par" for note in notes]
    return [*lines, r"\end{minipage}"]
