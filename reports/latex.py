r"""Write a table as LaTeX: booktabs, best bold, second underlined, sections, footnotes; compiles with pdflatex.

A document needs `\usepackage{booktabs}`, `\usepackage{graphicx}` and `\usepackage[utf8]{inputenc}`; every other sign is
spelled as a command, and text from data (a sentence that contains `\input{}`) is escaped.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from reports.layout import Cell, Row, Table
from reports.render import column_groups

ESCAPES = {
    "\\": r"$\backslash$",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\^{}",
    "~": r"\~{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    "`": r"\`{}",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "§": r"\S{}",
    "“": "``",
    "”": "''",
    "≥": r"$\geq$",
    "Δ": r"$\Delta$",
    "✓": r"$\surd$",
    "…": r"\ldots{}",
    "≤": r"$\leq$",
}
PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\begin{document}
\pagestyle{empty}
"""


def escape_latex(text: str) -> str:
    """Return text in which no sign acts: commands, math, comments and letters outside Latin 1 are all made plain."""
    return "".join(_escape_letter(letter) for letter in text.replace("\n", " "))


def _escape_letter(letter: str) -> str:
    if letter in ESCAPES:
        return ESCAPES[letter]
    if ord(letter) < 0x7F and letter.isprintable():
        return letter
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain if plain.isprintable() and plain else "?"


def to_latex(table: Table) -> str:
    """Return the table as a `table*` float, scaled down to the text width where it is wider."""
    alignment = "".join("r" if column.numeric else "l" for column in table.columns)
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        rf"\label{{tab:{table.name.lower()}}}",
        r"\smallskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *_headings(table),
        r"\midrule",
        *_body(table),
        r"\bottomrule",
        r"\end{tabular}}",
        *_footnotes(table.notes),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def to_document(tables: Sequence[Table]) -> str:
    """Return a whole document of tables, a page each, for looking at them."""
    pages = "\n\\clearpage\n".join(to_latex(table) for table in tables)
    return f"{PREAMBLE}{pages}\n\\end{{document}}\n"


def _headings(table: Table) -> list[str]:
    lines = []
    if any(column.group for column in table.columns):
        cells, rules, start = [], [], 1
        for name, span in column_groups(table):
            if name:
                cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escape_latex(name)}}}")
                rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
            else:
                cells += [""] * span
            start += span
        lines += [" & ".join(cells) + r" \\", "".join(rules)]
    lines.append(" & ".join(escape_latex(column.heading) for column in table.columns) + r" \\")
    return lines


def _body(table: Table) -> list[str]:
    lines: list[str] = []
    for row in table.rows:
        if row.kind == "section":
            if lines:
                lines.append(r"\midrule")
            lines.append(
                rf"\multicolumn{{{len(table.columns)}}}{{l}}{{\textit{{{escape_latex(row.cells[0].text)}}}}} \\"
            )
        else:
            lines.append(_line(row))
    return lines


def _line(row: Row) -> str:
    return " & ".join(_latex_cell(cell) for cell in row.cells) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    if cell.missing and text:
        return rf"\textit{{{text}}}"
    return {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.rank, text)


def _footnotes(notes: Sequence[str]) -> list[str]:
    if not notes:
        return []
    lines = [r"\\[1ex]", r"\begin{minipage}{\linewidth}\footnotesize"]
    lines += [rf"{escape_latex(note)}\par" for note in notes]
    return [*lines, r"\end{minipage}"]
