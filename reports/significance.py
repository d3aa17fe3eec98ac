"""Two tables next to each ablation: the differences with their statistics, and the effect of the protocol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.metrics import Metric, metrics_of
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.published.tables import number
from reports.bootstrap_samples import Resampled
from reports.layout import Cell, Column, Row, Table, missing_cell, text_cell
from reports.load import Runs
from reports.paper import PROPOSED
from reports.ranks import fewest_seeds
from reports.scores import deviation, score_cell
from reports.stats import DRAWS, Difference, Scores, holm
from reports.tables import Built, method_label
from reports.two_level import compare


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One difference that a table makes: the rows of the published table, by position."""

    this: int
    that: int


def comparisons(published: pd.DataFrame) -> list[Comparison]:
    """Return what each part of a table compares: every row with the first, and the proposed row with the others."""
    found: list[Comparison] = []
    for _, part in published.groupby("part", sort=False):
        positions = list(part.index)
        first = positions[0]
        proposed = next((line for line in positions if part["variant"][line] == PROPOSED), first)
        found += [Comparison(this=line, that=first) for line in positions[1:]]
        found += [Comparison(this=proposed, that=line) for line in positions[1:] if line != proposed != first]
    return found


def build_differences(built: Built, resampled: Resampled, draws: int = DRAWS) -> Table:
    """Return the table of differences of an ablation.

    Args:
        built: the ablation.
        resampled: scores of at least the runs that it shows; those that it lacks are "not run" here.
        draws: how many were made, for the caption.
    """
    pairs = comparisons(built.published)
    measured = {
        (pair, metric.name): _measure(built, pair, resampled.scores[metric.name], resampled)
        for pair in pairs
        for metric in metrics_of("main")
        if metric.name in resampled.scores
    }
    known = [key for key, value in measured.items() if value is not None]
    adjusted = dict(zip(known, holm([measured[key].p_value for key in known]), strict=True))  # type: ignore[union-attr]
    rows = []
    for pair in pairs:
        cells = [text_cell(f"{_name(built, pair.this)} − {_name(built, pair.that)}")]
        for metric in metrics_of("main"):
            key = (pair, metric.name)
            cells += _cells(built, pair, metric, measured.get(key), adjusted.get(key))
        rows.append(Row(cells=tuple(cells)))
    columns = [Column(heading="Difference", numeric=False)]
    for metric in metrics_of("main"):
        columns += _columns(metric, with_paper=built.is_of_paper)
    return Table(
        name=f"{built.table.name}-differences",
        title=f"{built.table.title}: differences",
        caption=_caption(built, len(known), draws),
        columns=tuple(columns),
        rows=tuple(rows),
        notes=_notes(built),
    )


def _points(metric: Metric) -> str:
    """Return the unit of a difference."""
    return "percent points" if metric.unit == "%" else metric.unit


def _columns(metric: Metric, *, with_paper: bool) -> list[Column]:
    group, points = metric.heading, _points(metric)
    return [
        *([Column(heading="paper", group=group, unit=points)] if with_paper else []),
        Column(heading="here", group=group, unit=points),
        Column(
            heading="95 % interval",
            group=group,
            unit=points,
            csv_heading="95 % interval low",
            parts=("95 % interval high",),
        ),
        Column(heading="p", group=group),
        Column(heading="Holm", group=group),
    ]


def _name(built: Built, line: int) -> str:
    row = built.published.loc[line]
    backbone = f" on {row['Backbones']}" if "Backbones" in row and row["method"] in ("CGFormer", "DMMI") else ""
    return f"{row['method']}{backbone}"


def _seeds(built: Built, line: int, resampled: Resampled) -> dict[int, int]:
    """Return the column of each seed of a row's runs."""
    rows = built.choice.rows
    mine = rows[(rows["variant"] == built.published.loc[line, "variant"]) & rows["run_id"].isin(resampled.run_ids)]
    return {int(seed): resampled.run_ids.index(run) for seed, run in zip(mine["seed"], mine["run_id"], strict=True)}


def common_seeds(these: dict[int, int], those: dict[int, int]) -> tuple[list[int], list[int]]:
    """Return the columns of the seeds that both have, or of all seeds where they have none in common."""
    common = sorted(set(these) & set(those))
    if common:
        return [these[seed] for seed in common], [those[seed] for seed in common]
    return list(these.values()), list(those.values())


def _measure(built: Built, pair: Comparison, scores: Scores, resampled: Resampled) -> Difference | None:
    these, those = common_seeds(_seeds(built, pair.this, resampled), _seeds(built, pair.that, resampled))
    if not these or not those or not np.isfinite(scores.observed_R[[*these, *those]]).all():
        return None
    return compare(scores, these, those)


def _cells(
    built: Built, pair: Comparison, metric: Metric, found: Difference | None, adjusted: float | None
) -> list[Cell]:
    this, that = built.published.loc[pair.this], built.published.loc[pair.that]
    ours, theirs = (number(str(row.get(metric.heading, ""))) for row in (this, that))
    printed = ours - theirs if ours is not None and theirs is not None else None
    paper = [Cell(text=signed(printed), value=printed) if printed is not None else text_cell("")]
    if not built.is_of_paper:
        paper = []
    if found is None or adjusted is None:
        return [*paper, missing_cell("not run"), text_cell(""), text_cell(""), text_cell("")]
    rows = built.choice.rows
    run_ids = tuple(rows[rows["variant"].isin([this["variant"], that["variant"]])]["run_id"])
    factor = metric.factor
    shown = factor * found.observed
    return [
        *paper,
        Cell(text=signed(shown), value=shown, run_ids=run_ids, detail=_seed_detail(built, pair, metric)),
        _interval_cell(factor * found.low, factor * found.high),
        Cell(text=p_text(found.p_value), value=found.p_value),
        Cell(text=p_text(adjusted), value=adjusted, rank=1 if adjusted < 0.05 else 0),
    ]


def _interval_cell(low: float, high: float) -> Cell:
    return Cell(text=f"[{signed(low)}, {signed(high)}]", value=round(low, 2), parts=(high,))


def signed(percent: float) -> str:
    """Return a difference in percent points with its sign."""
    return f"{percent:+.2f}".replace("-", "−")


def p_text(value: float) -> str:
    """Return a p value with three decimals, and what is below the resolution of the draws as such."""
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _seed_detail(built: Built, pair: Comparison, metric: Metric) -> str:
    rows = built.choice.rows.set_index("seed")
    these = rows[rows["variant"] == built.published.loc[pair.this, "variant"]][metric.name]
    those = rows[rows["variant"] == built.published.loc[pair.that, "variant"]][metric.name]
    by_seed = (metric.factor * (these - those)).dropna()
    if len(by_seed) < 2:
        return "one seed: how much training itself varies is not known"
    spread = deviation(by_seed.to_numpy())
    return f"over {len(by_seed)} common seeds: mean {signed(by_seed.mean())}, deviation {spread:.2f}"


def _caption(built: Built, family: int, draws: int) -> str:
    choice = built.choice
    where = f"{choice.split}, protocol {choice.protocol}, scale {choice.scale}" if choice.split else "nothing run"
    levels = "Intervals and p over trainings and images" if fewest_seeds(built) > 1 else "Paired bootstrap over images"
    return (
        f"Differences of {built.table.title} in percent points ({where}). {levels}, {draws} draws; "
        f"Holm over the {family} differences of this table; bold: below 0.05."
    )


def _notes(built: Built) -> tuple[str, ...]:
    single = built.choice.rows.groupby("variant")["seed"].nunique().max() if len(built.choice.rows) else 0
    notes = []
    if fewest_seeds(built) < 2:
        notes.append(
            "With one seed of a row, intervals are over the samples of this split for the runs as trained; they do not "
            "hold the variation between trainings (docs/statistics.md)."
        )
    if single == 1:
        notes.append("One seed each: a difference between two rows may be one between two trainings.")
    if built.is_of_paper:
        notes.append("The paper gives no seeds and no intervals: its differences cannot be tested.")
    return tuple(notes)


def build_protocols(built: Built, runs: Runs) -> Table:
    """Return the scores of an ablation's rows under all protocols side by side, from the same logits."""
    choice = built.choice
    keep = runs.records["run_id"].isin(choice.rows["run_id"]) & (runs.records["split"] == choice.split)
    # by the table's own rows: the table of a sweep joins by the labels of its rows
    row_of = dict(zip(choice.rows["run_id"], choice.rows["variant"], strict=True))
    records = runs.records[keep].assign(variant=[row_of[run] for run in runs.records.loc[keep, "run_id"]])
    columns = [Column(heading=built.spec.first_heading, numeric=False)]
    for metric in metrics_of("main"):
        for protocol in PROTOCOLS:
            parts = (f"{protocol} deviation",)
            columns.append(Column(heading=protocol, group=metric.heading, unit=metric.unit, parts=parts))
        columns.append(Column(heading="span", group=metric.heading, unit=_points(metric)))
    rows: list[Row] = []
    for _, line in built.published.drop_duplicates("variant").iterrows():
        backbone = f", {line['Backbones']}" if "Backbones" in line else ""
        cells = [text_cell(f"{method_label(line)}{backbone}")]
        for metric in metrics_of("main"):
            cells += _protocol_cells(records[records["variant"] == line["variant"]], metric.name)
        rows.append(Row(cells=tuple(cells)))
    return Table(
        name=f"{built.table.name}-protocols",
        title=f"{built.table.title}: protocols",
        caption=f"Scores of {built.table.title} under the {_count_word(len(PROTOCOLS))} protocols, "
        f"{choice.split or 'nothing run'}; span: highest minus lowest, in percent points.",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def _count_word(count: int) -> str:
    return {3: "three", 4: "four", 5: "five"}.get(count, str(count))


def _protocol_cells(rows: pd.DataFrame, metric: str) -> list[Cell]:
    cells = []
    for protocol in PROTOCOLS:
        mine = rows[rows["protocol"] == protocol]
        cells.append(score_cell(mine, metric) if len(mine) else missing_cell("not run"))
    values = [cell.value for cell in cells if cell.value is not None]
    span = max(values) - min(values) if len(values) > 1 else None
    return [*cells, Cell(text=f"{span:.2f}", value=span) if span is not None else text_cell("")]
