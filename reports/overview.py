"""The first screen of the page: what reproduces, what does not, what was not run, and at what cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from reports.bootstrap_samples import Resampled
from reports.layout import Cell, Column, Row, Table
from reports.tables import Built
from reports.variation import visible_sentence

COSTS = ("Params", "GFLOPs")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One number of the first screen; `href` leads to the row or table that it counts."""

    value: str
    label: str
    href: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line about a row of a table."""

    text: str
    href: str


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The first screen; a list that is empty is not shown."""

    facts: tuple[Fact, ...]
    reproduces: tuple[Finding, ...]
    differs: tuple[Finding, ...]
    not_run: tuple[Finding, ...]
    visible: Finding | None = None  # the smallest difference of two rows that the runs could have shown


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """A number of the paper with ours, of one row."""

    table: Table
    row: int
    what: str
    published: Cell
    measured: Cell

    @property
    def finding(self) -> Finding:
        label = self.table.rows[self.row].cells[0].text
        text = f"{self.table.title}, {label}: {self.what} {self.measured.text}, paper {self.published.text}"
        return Finding(text=text, href=row_anchor(self.table, self.row))


def row_anchor(table: Table, row: int) -> str:
    """Return the address of a row on the page."""
    return f"#row-{table.name}-{row}"


def has_own_numbers(built: Built) -> bool:
    """Return whether a table has a number that a run of ours gave."""
    return any(cell.run_ids for row in built.table.rows for cell in row.cells)


def has_measured_rows(table: Table) -> bool:
    """Return whether a table of statistics has a row to show; differences and ranks are of two rows that were run."""
    if table.name.endswith("-differences"):
        return any(cell.run_ids for row in table.rows for cell in row.cells)
    if table.name.endswith("-ranks"):
        chances = [place for place, column in enumerate(table.columns) if column.heading == "P(better)"]
        rows = [row for row in table.rows if row.kind != "section"]
        return any(row.cells[place].value is not None for row in rows for place in chances)
    return True


def overview(built: list[Built], records: pd.DataFrame, resampled: Mapping[str, Resampled] | None = None) -> Overview:
    """Return the first screen of a report.

    Args:
        built: its tables.
        records: of the runs that its tables may show.
        resampled: table -> scores of its runs with their draws; without them no smallest visible difference is named.
    """
    of_paper = [each for each in built if each.is_of_paper]
    costs = [each for one in of_paper for each in _comparisons(one, COSTS)]
    scores = [each for one in of_paper if one.choice.is_published_data for each in _comparisons(one, None)]
    same = [each for each in costs if rounds_to(each.measured, each.published)]
    other = [each for each in costs if not rounds_to(each.measured, each.published)]
    facts = (
        _cells_trained(of_paper),
        Fact(
            value=f"{len(same)} of {len(costs)}",
            label="measured costs round to the paper's",
            href=other[0].finding.href if other else (same[0].finding.href if same else ""),
        ),
        Fact(
            value=str(len({(each.table.name, each.row) for each in scores})),
            label="rows with scores at the paper's scale",
            href=scores[0].finding.href if scores else "",
        ),
        *_hours(records),
        *_seeds(records),
    )
    return Overview(
        facts=facts,
        reproduces=tuple(each.finding for each in same),
        differs=(*(each.finding for each in other), *map(_score_finding, scores)),
        not_run=tuple(_not_run(of_paper)),
        visible=_visible(built, resampled or {}),
    )


def _visible(built: list[Built], resampled: Mapping[str, Resampled]) -> Finding | None:
    """Return the smallest visible difference of the ablation with most rows that were run, those of the paper first."""
    tables = [each for each in built if len(each.choice.rows) and each.table.name in resampled]
    if not tables:
        return None
    table = max(tables, key=lambda each: (each.is_of_paper, each.choice.rows["variant"].nunique()))
    text = visible_sentence(table, resampled[table.table.name])
    return Finding(text=f"{table.table.title}: {text}", href=f"#part-{table.table.name}") if text else None


def rounds_to(measured: Cell, published: Cell) -> bool:
    """Return whether our number, rounded to the decimals that the paper prints, is the paper's."""
    decimals = len(published.text.rstrip("M").partition(".")[2])
    if measured.value is None or published.value is None:
        return False
    return round(measured.value, decimals) == published.value


def _comparisons(built: Built, groups: Iterable[str] | None) -> Iterator[_Comparison]:
    """Yield the pairs of a table's columns "paper" and "here": of the named groups, or of all but the costs."""
    table = built.table
    pairs = _pairs(table.columns)
    for position, row in enumerate(table.rows):
        if row.kind == "section":
            continue
        for group, (paper, here) in pairs.items():
            wanted = group in groups if groups is not None else group not in COSTS
            published, measured = row.cells[paper], row.cells[here]
            if wanted and published.value is not None and measured.value is not None:
                yield _Comparison(table=table, row=position, what=group, published=published, measured=measured)


def _pairs(columns: tuple[Column, ...]) -> dict[str, tuple[int, int]]:
    places: dict[str, dict[str, int]] = {}
    for position, column in enumerate(columns):
        places.setdefault(column.group, {})[column.heading] = position
    return {
        group: (found["paper"], found["here"]) for group, found in places.items() if {"paper", "here"} <= set(found)
    }


def _score_finding(each: _Comparison) -> Finding:
    assert each.measured.value is not None  # a comparison has both
    assert each.published.value is not None
    difference = each.measured.value - each.published.value
    return Finding(text=f"{each.finding.text}, {difference:+.2f}".replace("-", "−"), href=each.finding.href)


def _cells_trained(of_paper: list[Built]) -> Fact:
    """Return how many distinct cells of the ablations have a record."""
    ablations = [each for each in of_paper if not each.spec.metric]
    wanted = {variant for each in ablations for variant in each.published["variant"] if variant}
    done = {variant for each in ablations for variant in each.choice.rows["variant"]} & wanted
    first = next((each for each in ablations if has_own_numbers(each)), None)
    href = f"#part-{first.table.name}" if first else ""
    return Fact(value=f"{len(done)} of {len(wanted)}", label="cells of the ablations trained", href=href)


def _hours(records: pd.DataFrame) -> list[Fact]:
    """Return the hours that workers took for training and evaluation, those with a GPU and those without apart."""
    runs = records.drop_duplicates("run_id")
    hours = runs["seconds"].astype(float) * runs["world_size"].astype(float) / 3600
    with_gpu = runs["hardware_json"].map(_has_gpu).astype(bool)
    found = {"GPU-hours": hours[with_gpu].sum(), "CPU-worker-hours": hours[~with_gpu].sum()}
    return [Fact(value=f"{value:,.1f}", label=name, href="#part-runs") for name, value in found.items() if value > 0]


def _has_gpu(text: object) -> bool:
    try:
        values = json.loads(str(text))
    except ValueError:
        return False
    return isinstance(values, dict) and bool(values.get("gpu"))


def _seeds(records: pd.DataFrame) -> list[Fact]:
    if records.empty:
        return []
    counts = records.groupby("variant")["seed"].nunique()
    shown = str(counts.min()) if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    return [Fact(value=shown, label="seeds a cell", href="#part-runs")]


def _not_run(of_paper: list[Built]) -> Iterator[Finding]:
    """Yield a line per ablation with cells that have no run; rows that cannot be built are counted apart."""
    for each in of_paper:
        if each.spec.metric:
            continue
        rows = each.published[each.published["variant"] != ""]
        missing = rows[~rows["variant"].isin(set(each.choice.rows["variant"]))]
        if len(missing):
            unbuilt = int((~missing["built"].astype(bool)).sum())
            text = f"{each.table.title}: {len(missing)} of {len(rows)} rows" + (
                f", {unbuilt} of them not built here" if unbuilt else ""
            )
            yield Finding(text=text, href=_first_row(each.table, missing))


def _first_row(table: Table, missing: pd.DataFrame) -> str:
    names = set(missing["method"])

    def fits(row: Row) -> bool:
        return row.kind != "section" and any(name in row.cells[0].text for name in names)

    first = next((position for position, row in enumerate(table.rows) if fits(row)), None)
    return f"#part-{table.name}" if first is None else row_anchor(table, first)
