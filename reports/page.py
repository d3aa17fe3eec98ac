"""The one page: self-contained HTML that opens from disk; jinja2 escapes everything that comes from data."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.csv_table import to_csv
from reports.figures import FigureGroup
from reports.latex import to_latex
from reports.layout import Table
from reports.overview import Overview
from reports.provenance import RunCard
from reports.render import column_groups, to_markdown

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A table on the page, with what its buttons give."""

    table: Table
    groups: list[tuple[str, int]]
    latex: str
    markdown: str
    csv_uri: str
    is_open: bool


@dataclass(frozen=True, kw_only=True)
class Part:
    """One card of the page: a table of the paper, then its differences and protocols."""

    name: str
    title: str
    short: str  # shown next to its numeral in the contents
    state: str  # shown next to its link: "4/8"
    entries: list[Entry]
    others: tuple[str, ...] = ()
    has_own_numbers: bool = True
    is_of_paper: bool = True
    figures: list[tuple[str, str]] = field(default_factory=list)  # name and title of the pictures of its rows


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that the page shows."""

    title: str
    subtitle: list[str]
    overview: Overview
    parts: list[Part]
    picture_groups: list[FigureGroup]
    runs: list[RunCard]
    problems: list[str] = field(default_factory=list)


def make_entry(table: Table, *, is_open: bool = False) -> Entry:
    """Return a table as the page needs it."""
    data = base64.b64encode(to_csv(table).encode()).decode()
    return Entry(
        table=table,
        groups=column_groups(table),
        latex=to_latex(table),
        markdown=to_markdown(table),
        csv_uri=f"data:text/csv;charset=utf-8;base64,{data}",
        is_open=is_open,
    )


def environment() -> Environment:
    """Return the template environment: everything escaped, unknown names are errors."""
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def render_page(page: Page) -> str:
    """Return the page as HTML."""
    groups = [
        {
            "name": group.name,
            "title": group.title,
            "missing": group.missing,
            "pictures": [
                {
                    "name": picture.name,
                    "title": picture.title,
                    "tables": picture.tables,
                    "file": picture.file,
                    "is_wide": picture.is_wide,
                    "markup": picture.markup,
                }
                for picture in group.pictures
            ],
        }
        for group in page.picture_groups
    ]
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            title=page.title,
            subtitle=page.subtitle,
            overview=page.overview,
            parts=page.parts,
            groups=_part_groups(page.parts),
            picture_groups=groups,
            runs=page.runs,
            problems=page.problems,
            css=static("page.css") + static("whole_page.css"),
            script=static("page.js"),
        )
    )


def _part_groups(parts: list[Part]) -> list[tuple[str, list[Part], bool]]:
    """Return the tables in the order of the page: heading, tables, and whether they are folded."""
    groups = [
        ("Tables of the paper with numbers of ours", [p for p in parts if p.is_of_paper and p.has_own_numbers], False),
        ("Tables of other sweeps", [p for p in parts if not p.is_of_paper and p.has_own_numbers], False),
        ("Not run: the paper's numbers and measured costs", [p for p in parts if not p.has_own_numbers], True),
    ]
    return [group for group in groups if group[1]]


def render_table(table: Table) -> str:
    """Return one table as a separate small HTML document."""
    template = environment().from_string(
        '{% from "table.html.jinja" import draw %}<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        "<title>{{ table.title }}</title>\n<style>{{ css }} th button { pointer-events: none; } "
        "th button::after { content: none !important; }</style>\n"
        '<main><section class="card"><h3>{{ table.title }}</h3><p class="caption">{{ table.caption }}</p>\n'
        "{{ draw(table, groups) }}</section></main>\n</html>\n"
    )
    return template.render(table=table, groups=column_groups(table), css=static("page.css"))


def static(name: str) -> Markup:
    """Return a style sheet or a script of ours as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704
