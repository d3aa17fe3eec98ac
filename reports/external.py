"""Lines of other systems, whose masks `sharedris score` scored, next to ours and to what their papers print."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports.json_text import object_of
from reports.layout import Cell, Row, missing_cell, text_cell
from reports.load import Runs
from reports.paper import FULL_SPLITS, SPLIT_COLUMNS, STAND_INS, TableSpec
from reports.scores import score_cell

TITLE = "External masks, scored by this project"


def facts_of(row: Any) -> dict[str, Any]:
    """Return name, paper, digest and permissions of a row of `Runs.external`."""
    return object_of(row["predictions_json"])


def system_label(row: Any) -> str:
    """Return the name of an external system, marked as such."""
    return f"{facts_of(row).get('name', row['run_id'])} (external)"


def external_lines(spec: TableSpec, splits: Sequence[str], runs: Runs, protocol: str) -> tuple[list[Row], list[str]]:
    """Return a line per external system with scores in some column of a comparison of methods, and their notes."""
    rows, notes = [], []
    of_table = _of_columns(runs.external, splits)
    labels = pd.Series([system_label(row) for _, row in of_table.iterrows()], index=of_table.index, dtype="object")
    for name in sorted(set(labels)):
        mine = of_table[labels == name]
        cells = [_cell(_of_columns(mine, [split]), split, spec, protocol) for split in splits]
        head = [text_cell(name), *(text_cell("") for _ in spec.labels)]
        head += [missing_cell("not known")] if spec.component else []
        rows.append(Row(kind="ours", cells=(*head, *cells)))
        notes += _notes(name, mine)
    return rows, notes


def _of_columns(external: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """Return the rows on the sets of some columns, or on the synthetic sets that stand in for them."""
    wanted = {each for split in splits for each in (SPLIT_COLUMNS[split], _stand_in(SPLIT_COLUMNS[split])) if each}
    return external[external["split"].isin(wanted)]


def _stand_in(split: str) -> str:
    real, _, part = split.partition("/")
    return f"{STAND_INS[real]}/{part}" if STAND_INS[real] else ""


def _cell(rows: pd.DataFrame, split: str, spec: TableSpec, protocol: str) -> Cell:
    """Return one score; the real set comes before its stand-in, and two runs of one name are shown by neither."""
    real = rows[rows["split"] == SPLIT_COLUMNS[split]]
    rows = real if len(real) else rows
    if rows.empty:
        return text_cell("")
    mine = rows[rows["protocol"] == protocol]
    if mine.empty:
        there = ", ".join(sorted(set(rows["protocol"])))
        return missing_cell("not scored", f"recorded under protocol {there}")
    if len(mine) > 1:
        return missing_cell("two claims", f"{', '.join(mine['run_id'])} claim this cell")
    row = mine.iloc[0]
    cell = score_cell(mine, spec.metric)
    marks, remarks = [], []
    if not _is_published(row):
        marks.append("§")
        remarks.append(f"{row['split']}, not comparable")
    if missing := facts_of(row).get("missing"):
        marks.append("†")
        remarks.append(f"{missing} missing, scored as empty")
    return dataclasses.replace(cell, text=cell.text + "".join(marks), remark="; ".join(remarks) or cell.remark)


def _is_published(row: pd.Series) -> bool:
    """Whether a row is of the whole of a split on which the paper reports."""
    return bool(FULL_SPLITS.get(row["split"]) == row["samples"])


def _notes(name: str, rows: pd.DataFrame) -> list[str]:
    """Return whose masks these are, and what was allowed: each split in order."""
    papers = sorted({facts_of(row).get("paper", "") for _, row in rows.iterrows()} - {""})
    parts = [_split_note(row) for _, row in rows.sort_values("split").iterrows()]
    source = f", {'; '.join(papers)}" if papers else ""
    return [f"{name}{source}: masks of others, scored by this project's rules. {'; '.join(parts)}."]


def _split_note(row: pd.Series) -> str:
    facts = facts_of(row)
    size = f", compared at {facts['input_size']} pixels" if facts.get("input_size") else ""
    left_out = f", {facts['unknown']:,} for other expressions left out" if facts.get("unknown") else ""
    missing = f", † {facts['missing']:,} missing and scored as empty masks" if facts.get("missing") else ""
    digest = str(facts.get("sha256", ""))[:12]
    facts_in_words = f"{row['samples']:,} expressions, predictions {digest}{size}{missing}{left_out}"
    return f"{row['split']}: {facts_in_words}{_public_scores(row)}"


def _public_scores(row: pd.Series) -> str:
    """Return the second, labeled scores: what public code prints for the same masks."""
    parts = []
    for name, scores in object_of(row.get("public_scores_json")).items():
        shown = ", ".join(f"{score} {value:.2f}" for score, value in scores.items() if value is not None)
        parts.append(f"; by the rule of {name}'s public code: {shown}")
    return "".join(parts)


def external_facts(row: pd.Series) -> dict[str, str]:
    """Return what the page prints of an external run."""
    facts = facts_of(row)
    allowed = [f"{facts.get(name, 0)} {name}" for name in ("missing", "unknown")]
    return {
        "system": f"{facts.get('name', '')}, external: its masks were scored here; nothing was trained",
        "paper": str(facts.get("paper", "")),
        "predictions": f"{facts.get('form', '')} {facts.get('source', '')}, SHA-256 {facts.get('sha256', '')}",
        "allowed": ", ".join(allowed),
        "started": str(row["started"]),
        "took": f"{row['seconds']:,.0f} s of scoring",
        "commit": f"{row['git_commit']}{' with uncommitted changes' if row['git_dirty'] else ''}",
        "data": f"fingerprint {row['data_fingerprint']}",
    }
