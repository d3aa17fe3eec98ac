"""A comparison of any runs that the user names: only what differs between them, and their scores."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from pipeline.evaluation.metrics import Metric, shown_metrics
from pipeline.records import RecordError
from reports.json_text import object_of
from reports.labels import variant_label
from reports.layout import Cell, Column, Row, Table, missing_cell, text_cell, with_ranks
from reports.load import Runs

FACTS = (
    "variant", "scale", "seed", "trained_on", "recipe", "epochs", "steps", "world_size", "batch_norm", "million_params",
    "gmacs", "peak_memory_mib", "train_samples_per_second", "git_commit", "git_dirty", "data_fingerprint",
    "versions_json", "hardware_json",
)  # fmt: skip


def compare_runs(runs: Runs, names: list[str]) -> Table:
    """Return a table with a column per run: the settings that differ, then all scores.

    Args:
        runs: all runs.
        names: run ids, or beginnings or endings of one that only one run has.

    Raises:
        RecordError: when fewer than two runs are named, or a name fits none or several.
    """
    every, ids = runs.every, run_ids_of(runs, names)
    of_run = {run_id: runs.rows_of(run_id) for run_id in ids}
    of_runs = (Column(heading=run_id, better="max", parts=(f"{run_id} setting",)) for run_id in ids)
    columns = (Column(heading="", csv_heading="name", numeric=False), *of_runs)
    lines = [Row(kind="section", cells=(text_cell("What differs"),)), *_settings(of_run)]
    for (split, protocol), _ in every[every["run_id"].isin(ids)].groupby(["split", "protocol"]):
        lines.append(Row(kind="section", cells=(text_cell(f"{split}, protocol {protocol} (%)"),)))
        lines += _scores(of_run, str(split), str(protocol))
    return Table(
        name="compare",
        title="Comparison",
        caption=f"{len(ids)} runs: only the settings that differ, and all scores; best bold, second underlined.",
        columns=columns,
        rows=tuple(lines),
    )


def run_ids_of(runs: Runs, names: list[str]) -> list[str]:
    """Return the ids of the runs that are named.

    Raises:
        RecordError: as `compare_runs`.
    """
    if len(names) < 2:
        raise RecordError("a comparison needs two runs or more", "sharedris report compare RUN RUN")
    ids = [_find(runs.every, name) for name in names]
    if len(set(ids)) < len(ids):
        raise RecordError(f"{', '.join(names)} name the same run twice", "Name different runs")
    return ids


def _find(records: pd.DataFrame, name: str) -> str:
    known = sorted(records["run_id"].unique())
    if name in known:
        return name
    found = [run_id for run_id in known if name and (run_id.startswith(name) or run_id.endswith(name))]
    if len(found) == 1:
        return str(found[0])
    what = f"fits {len(found)} runs" if found else "is no run"
    raise RecordError(f"{name!r} {what}", f"There are: {', '.join((found or known)[:8])}")


def flatten(values: Any, path: str = "") -> dict[str, str]:
    """Return nested settings as dotted names."""
    if not isinstance(values, dict):
        return {path: json.dumps(values) if isinstance(values, list | bool | None) else str(values)}
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= flatten(value, f"{path}.{name}" if path else name)
    return found


def _settings(of_run: dict[str, pd.DataFrame]) -> list[Row]:
    settings = []
    for rows in of_run.values():
        first = rows.iloc[0]
        facts = {name: _fact(name, first[name]) for name in FACTS}
        settings.append(facts | {f"config.{k}": v for k, v in flatten(object_of(first["config_json"])).items()})
    names = list(dict.fromkeys(name for each in settings for name in each))
    differing = [name for name in names if len({each.get(name, "-") for each in settings}) > 1]
    lines = [
        Row(cells=(text_cell(name), *(_setting_cell(each.get(name, "-")) for each in settings))) for name in differing
    ]
    return lines or [Row(cells=(text_cell("nothing"), *(text_cell("") for _ in of_run)))]


def _setting_cell(text: str) -> Cell:
    return Cell(text=text, parts=(text,))


def _fact(name: str, value: Any) -> str:
    if name == "variant":
        return variant_label(str(value))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _scores(of_run: dict[str, pd.DataFrame], split: str, protocol: str) -> list[Row]:
    lines = []
    of_split = [rows[(rows["split"] == split) & (rows["protocol"] == protocol)] for rows in of_run.values()]
    for metric in shown_metrics(pd.concat(of_split), "main", "detail"):
        cells = [text_cell(metric.heading)]
        for run_id, rows in zip(of_run, of_split, strict=True):
            mine = rows[metric.name].dropna()
            value = round(metric.factor * float(mine.iloc[0]), metric.decimals) if len(mine) else None
            cells.append(
                missing_cell("not evaluated")
                if value is None
                else Cell(text=f"{value:.{metric.decimals}f}", value=value, run_ids=(run_id,))
            )
        lines.append(_ranked_across(cells, metric))
    return lines


def _ranked_across(cells: list[Cell], metric: Metric) -> Row:
    """Rank along the row: runs are columns here."""
    column = [Column(heading="", better=metric.better)]
    ranked = with_ranks(column, [Row(cells=(cell,)) for cell in cells])
    return Row(cells=tuple(row.cells[0] for row in ranked))
