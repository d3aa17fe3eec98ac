"""Hostile text in every text column of records: no script runs, no element appears, LaTeX reads and writes nothing."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import synthetic_runs

from pipeline.records import RECORD_SCHEMA, list_runs, read_table, record_path, write_table
from reports.__main__ import main
from tests.reports.test_page import browser  # noqa: F401  (a fixture)

HOSTILE = (
    "\"><img src=x onerror='window.owned=1'></style></script><script>window.owned=1</script>"
    "\\input{/etc/passwd}\\write18{touch owned}{{7*7}}%&$#_{}~^\x1b[31m\x07"
)
FORMULA = "=cmd|'/c calc'!A1"
TEXTS = [field.name for field in RECORD_SCHEMA if pa.types.is_string(field.type)]
KEYS = ("run_id", "split", "protocol")  # without them a record is in no table


def hostile(rows: pd.DataFrame, column: str, text: str) -> pd.DataFrame:
    return rows.drop(columns="schema_version").assign(**{column: text})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of which each has hostile text in one column."""
    root = tmp_path_factory.mktemp("hostile")
    columns = [column for column in TEXTS if column not in KEYS]
    synthetic_runs.write_runs(root, seeds=tuple(range(len(columns) // 4 + 1)), samples=12, images=4)
    synthetic_runs.write_costs(root)
    for column, run_id in zip(columns, list_runs(root), strict=False):
        path = record_path(root, run_id)
        write_table(path, hostile(read_table(path, RECORD_SCHEMA), column, HOSTILE), RECORD_SCHEMA)
    variants = {f"{HOSTILE}|fpn=x": 0.0, f"{FORMULA}|fpn=none()": 0.01, HOSTILE: 0.02}
    synthetic_runs.write_runs(root, variants, recipe="cafe00000002", samples=12, images=4)
    assert main(["all", "--runs", str(root), "--prepared", str(root)]) in (0, 1)
    return root


def test_no_markup_of_a_record_is_in_a_page(root: Path) -> None:
    pages = [root / "report" / "index.html", *(root / "report" / "tables").glob("*.html")]
    assert len(pages) > 10
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert "<img src=x" not in html
        assert "<script>window.owned" not in html


def test_templates_evaluate_no_record(root: Path) -> None:
    assert "{{7*7}}" in (root / "report" / "index.html").read_text(encoding="utf-8")


def test_titles_of_figures_are_escaped(root: Path) -> None:
    html = (root / "report" / "index.html").read_text(encoding="utf-8")
    for quoted in re.findall(r'(?:alt|aria-label)="([^"]*)"', html):
        assert "<" not in quoted


@pytest.mark.parametrize("what", [["VII"], ["compare"]])
def test_no_code_reaches_the_terminal(what: list[str], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = list_runs(root)[:2] if what == ["compare"] else []
    assert main([*what, *runs, "--runs", str(root), "--prepared", str(root)]) in (0, 1)
    printed = "".join(capsys.readouterr())
    assert printed
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", printed)


def test_tex_has_no_command_of_a_record(root: Path) -> None:
    for path in (root / "report" / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        assert "\\input{/etc" not in text
        assert "\\write18" not in text
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", text), path


def test_no_cell_of_a_csv_is_a_formula(root: Path) -> None:
    for path in (root / "report" / "tables").glob("*.csv"):
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))):
            assert not [cell for cell in row if cell.startswith(("=", "@"))], path


def test_nothing_of_a_record_runs_in_a_browser(root: Path, browser: object) -> None:  # noqa: F811
    browser.get((root / "report" / "index.html").as_uri())  # type: ignore[attr-defined]
    run = browser.execute_script  # type: ignore[attr-defined]
    assert run("return document.documentElement.dataset.ready") == "yes"
    assert run("return window.owned") is None
    assert run("return document.querySelectorAll('img[src=x]').length") == 0
    assert run("return document.querySelectorAll('script').length") == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_the_document_compiles_and_reads_nothing_else(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "report" / "tables", tmp_path / "tables")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-recorder", "document.tex"]
    done = subprocess.run(
        command, cwd=tmp_path / "tables", capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "/etc/passwd" not in (tmp_path / "tables" / "document.fls").read_text()
    assert not list(tmp_path.rglob("owned"))
