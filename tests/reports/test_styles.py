"""The layouts of a table, its JSON, and the LaTeX that goes into a paper."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.published.tables import citation_keys, read_bibliography, read_published
from reports.build import build_tables
from reports.json_table import to_json
from reports.latex import to_latex
from reports.latex_text import escape_latex
from reports.layout import Cell, Column, Row, Table, missing_cell, text_cell
from reports.paper import NUMERALS
from reports.run_selection import Wanted
from reports.styles import STYLES, in_style


def table_named(root: Path, name: str) -> Table:
    return build_tables(root, [name], Wanted(), statistics=False).built[0].table


def headings(table: Table) -> list[tuple[str, str]]:
    return [(column.group, column.heading) for column in table.columns]


def test_paper_style_has_the_papers_columns_and_a_group_of_ours(runs_root: Path) -> None:
    whole = table_named(runs_root, "VII-a")
    shown = in_style(whole, "paper")
    assert headings(shown) == [
        ("", "Ablations"),
        *(("", heading) for heading in ("Params", "GFLOPs", "oIoU", "mIoU")),
        ("This work", "oIoU"),
        ("This work", "mIoU"),
    ]
    assert shown.name == "VII-a-paper"
    printed = read_published("VII").query("part.str.startswith('(a)')")["oIoU"].tolist()
    assert [row.cells[3].text for row in shown.rows] == printed
    assert [row.cells[5] for row in shown.rows] == [
        row.cells[headings(whole).index(("oIoU", "here"))] for row in whole.rows
    ]


def test_our_style_prints_no_number_of_the_paper(runs_root: Path) -> None:
    shown = in_style(table_named(runs_root, "VII-a"), "ours")
    assert headings(shown) == [("", name) for name in ("Ablations", "Params", "GFLOPs", "oIoU", "mIoU")]
    assert "paper" not in shown.caption.partition("Not comparable")[0]
    of_methods = in_style(table_named(runs_root, "I"), "ours")
    assert {row.kind for row in of_methods.rows} == {"ours"}


def test_side_by_side_is_the_table_itself(runs_root: Path) -> None:
    table = table_named(runs_root, "VII-a")
    assert in_style(table, "side-by-side") is table


def test_json_has_numbers_units_and_reasons(runs_root: Path) -> None:
    content = json.loads(to_json(table_named(runs_root, "IV")))
    columns = [f"{column['group']} {column['heading']}".strip() for column in content["columns"]]
    by_label = {row["cells"][0]: row["cells"] for row in content["rows"]}
    params = by_label["Shared FPN (Ours)"][columns.index("Params paper")]
    assert params == {"value": 8.0, "text": "8M"}
    assert content["columns"][columns.index("Params paper")]["unit"] == "M"
    not_run = by_label["FPN in CRIS [21]"][columns.index("oIoU here")]
    assert not_run["value"] is None
    assert not_run["missing"] == "not run"
    ours = by_label["No FPN"][columns.index("oIoU here")]
    assert isinstance(ours["value"], float)
    assert ours["runs"]


def test_no_caption_has_a_recipe_hash(runs_root: Path) -> None:
    for table in build_tables(runs_root, list(NUMERALS), Wanted(), statistics=False).tables:
        assert "recipe" not in table.caption
    assert any(note.startswith("Recipe of the runs: ") for note in table_named(runs_root, "VII-a").notes)


def test_every_citation_of_the_tables_has_its_entry(runs_root: Path) -> None:
    keys, bibliography = citation_keys(), read_bibliography()
    cited = {citation for numeral in NUMERALS for citation in read_published(numeral)["citation"]} - {""}
    assert cited <= set(keys)
    entries = re.findall(r"^@\w+\{(\w+),", bibliography, re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert set(keys.values()) <= set(entries)
    assert r"CRIS~\cite{wang2022cris}" in to_latex(table_named(runs_root, "I"))


def test_quotes_open_and_close() -> None:
    assert escape_latex('over "No FPN", ("all") x"') == "over ``No FPN'', (``all'') x''"


def test_numbers_of_a_column_have_equally_much_behind_the_point() -> None:
    columns = (Column(heading="Row", numeric=False), Column(heading="Params", unit="M"), Column(heading="oIoU"))
    rows = (
        Row(cells=(text_cell("a"), Cell(text="8M", value=8.0), Cell(text="58.10 ± 0.40", value=58.1))),
        Row(cells=(text_cell("b"), Cell(text="3.81M", value=3.81), Cell(text="57.20", value=57.2, rank=1))),
        Row(cells=(text_cell("c"), missing_cell("not run"), missing_cell("not run"))),
    )
    latex = to_latex(Table(name="t", title="T", caption="c", columns=columns, rows=rows))
    assert r"\multicolumn{1}{c}{Params (M)}" in latex
    assert r"a & 8\phantom{.00} & 58.10\,{\scriptsize $\pm$\,0.40} \\" in latex
    assert r"b & 3.81 & \textbf{57.20}\phantom{\,{\scriptsize $\pm$\,0.40}} \\" in latex
    assert r"c & \multicolumn{1}{c}{\textit{not run}} & \multicolumn{1}{c}{\textit{not run}} \\" in latex
    assert r"\begin{table}" in latex
    assert "resizebox" not in latex
    wide = dataclasses.replace(
        Table(name="t", title="T", caption="c", columns=columns, rows=rows),
        columns=(*columns[:1], *columns[1:] * 12),
        rows=tuple(dataclasses.replace(row, cells=(*row.cells[:1], *row.cells[1:] * 12)) for row in rows),
    )
    assert r"\tiny" in to_latex(wide)
    assert r"\scriptsize" not in to_latex(wide), "a deviation in larger type than its number"


@pytest.mark.slow
@pytest.mark.parametrize(("document_class", "options"), [("IEEEtran", "journal"), ("article", "twocolumn")])
@pytest.mark.parametrize("style", STYLES)
def test_tables_compile_in_common_classes(
    runs_root: Path, tmp_path: Path, document_class: str, options: str, style: str
) -> None:
    if shutil.which("pdflatex") is None or not _has_class(document_class):
        pytest.skip(f"no pdflatex with {document_class} (apt-get install texlive-publishers texlive-science)")
    report = build_tables(runs_root, list(NUMERALS), Wanted(), statistics=True, draws=50)
    tables = "\n\\clearpage\n".join(f"Text.\n{to_latex(in_style(each.table, style))}" for each in report.built)
    (tmp_path / "references.bib").write_text(read_bibliography(), encoding="utf-8")
    (tmp_path / "t.tex").write_text(
        f"\\documentclass[{options}]{{{document_class}}}\n\\usepackage[utf8]{{inputenc}}\n\\usepackage{{booktabs}}\n"
        f"\\begin{{document}}\n{tables}\n\\bibliographystyle{{plain}}\\bibliography{{references}}\\end{{document}}\n",
        encoding="utf-8",
    )
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    for command in (latex, ["bibtex", "t"], latex, latex):
        done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
    log = (tmp_path / "t.log").read_text(errors="replace")
    assert "Overfull" not in log
    assert "undefined" not in log
    if shutil.which("pdffonts"):
        fonts = subprocess.run(["pdffonts", "t.pdf"], check=True, cwd=tmp_path, capture_output=True, text=True).stdout
        assert "Type 3" not in fonts, "bitmap fonts, which publishers refuse"


def _has_class(name: str) -> bool:
    found = subprocess.run(["kpsewhich", f"{name}.cls"], check=False, capture_output=True, text=True)
    return found.returncode == 0
