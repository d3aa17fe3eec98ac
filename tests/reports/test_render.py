"""The output formats: escaped, complete, and LaTeX that pdflatex takes."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.build import build_tables
from reports.csv_table import to_csv
from reports.latex import to_document, to_latex
from reports.latex_text import escape_latex
from reports.layout import Cell, Column, Row, Table, missing_cell, text_cell
from reports.page import render_table
from reports.paper import NUMERALS
from reports.render import escape_markdown, to_markdown, to_text
from reports.run_selection import Wanted

NASTY = "<script>alert(1)</script> \\input{/etc/passwd} $x_1^2$ & 100% #3 ~ | `code` \"q\" 'a' é 犬 †‡±×−–§“”≥Δ✓…≤ \\\\"


def table_of(text: str) -> Table:
    columns = (Column(heading="Methods", numeric=False), Column(heading="oIoU", group="Score", better="max"))
    rows = (
        Row(kind="section", cells=(text_cell(text),)),
        Row(cells=(text_cell(text), Cell(text="68.42", value=68.42, rank=1, run_ids=("r1",), detail=text))),
        Row(cells=(text_cell("second"), Cell(text="67.00", value=67.0, rank=2))),
        Row(cells=(text_cell("third"), missing_cell("not run"))),
    )
    return Table(name="T-x", title="Table T", caption=text, columns=columns, rows=rows, notes=(text,))


def test_html_escapes_what_comes_from_data() -> None:
    html = render_table(table_of(NASTY))
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_markdown_escapes_and_marks_best_and_second() -> None:
    markdown = to_markdown(table_of(NASTY))
    assert "<script>" not in markdown
    assert "**68.42**" in markdown
    assert "<u>67.00</u>" in markdown
    assert "*not run*" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_latex_marks_best_second_sections_and_groups() -> None:
    latex = to_latex(table_of("plain"))
    assert r"\textbf{68.42}" in latex
    assert r"\underline{67.00}" in latex
    assert r"\textit{not run}" in latex
    assert r"\cmidrule(lr){2-2}" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1


def test_latex_has_no_command_that_data_brought() -> None:
    latex = to_latex(table_of(NASTY))
    assert "\\input" not in latex
    assert "alert(1)" in latex
    assert latex.isascii() or "é" not in latex


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_escaped_latex_holds_no_active_sign(text: str) -> None:
    escaped = escape_latex(text)
    assert escaped.isascii()
    plain = re.sub(r"\$\^\{\\d+agger\}\$|\$\^\{\\dagger\}\$|\$\^\{\\ddagger\}\$", "", escaped)
    plain = re.sub(r"\$(?:\\[a-zA-Z]+|[<>|-])\$", "", plain)
    plain = re.sub(r"\\(?:[{}$&#%_]|[\^~`]\{\}|ldots\{\})", "", plain)
    assert not re.search(r"[\\{}$&#%_^~\n]", plain)


def test_escaping_markdown_is_plain() -> None:
    assert escape_markdown("a_b*c|d<e>") == "a\\_b\\*c\\|d&lt;e&gt;"


def test_csv_reads_back_with_parts_and_runs() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table_of(NASTY)))))
    assert [row["Score oIoU"] for row in rows] == ["68.42", "67.00", ""]
    assert [row["remarks"] for row in rows] == ["", "", "Score oIoU: not run"]
    assert rows[0]["part"] == NASTY
    assert rows[0]["runs"] == "r1"


def test_terminal_columns_are_aligned() -> None:
    lines = to_text(table_of("(a) part")).splitlines()
    numbers = [line for line in lines if line.endswith(("68.42**", "67.00*", "not run"))]
    assert len(numbers) == 3
    assert len({len(line) for line in numbers}) == 1


def test_every_format_shows_every_published_number(runs_root: Path) -> None:
    report = build_tables(runs_root, list(NUMERALS), Wanted(), statistics=False)
    for table in report.tables:
        printed = [cell.text for row in table.rows for cell in row.cells if re.fullmatch(r"\d+\.\d+", cell.text)]
        assert printed
        for text in (to_csv(table), to_markdown(table), to_latex(table), render_table(table), to_text(table)):
            assert all(number in text for number in printed)


def test_pdflatex_compiles_all_tables_and_nasty_text(runs_root: Path, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed (apt-get install texlive-latex-extra texlive-fonts-recommended)")
    report = build_tables(runs_root, list(NUMERALS), Wanted(), statistics=True, draws=50)
    document = to_document([table_of(NASTY), *report.tables])
    (tmp_path / "tables.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "tables.tex"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 20_000
    assert "Overfull" not in done.stdout
    assert f"({len(report.tables) + 1} pages" in done.stdout
