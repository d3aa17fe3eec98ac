"""The rank of each row with its interval, and which rows of a table may be called best.

Every pair of rows of a part is compared (`reports.two_level`), with Holm's correction over all pairs. A row's rank lies
between 1 + the number of rows that are surely better, and the number of rows - those that are surely worse. All ranks
of a part hold together in 95 % (Mogstad, Romano, Shaikh and Wilhelm 2024, "Inference for ranks", Review of Economic
Studies 91). Bold is the row whose rank is surely 1, underlined the one whose rank is surely 2.

The probability of improvement is the share of pairs of trainings, over the draws of images, in which a row scores
better than the first row of its part (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice").
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.metrics import Metric, metrics_of
from reports.bootstrap_samples import Resampled
from reports.layout import Cell, Column, Row, Table, missing_cell, text_cell
from reports.stats import Difference, Scores, holm
from reports.tables import Built, method_label
from reports.two_level import compare

MAY_BE_BEST = "≈"
SURE = (
    f"Bold: surely rank 1 of its column; underlined: surely rank 2; {MAY_BE_BEST}: may be rank 1, which these runs "
    "cannot decide (among the rows that were run; all ranks together hold in 95 %)."
)
SOME_NOT_RUN = (
    f"Bold: surely rank 1 of its column; underlined: surely rank 2; {MAY_BE_BEST}: may be rank 1, which these runs "
    "cannot decide (all ranks together hold in 95 %). Nothing is bold or underlined among rows of which some were not "
    "run."
)
ONE_SEED = (
    f"{MAY_BE_BEST}: may be rank 1, from the images. With one seed no rank is sure, since the variation between "
    "trainings is not known, so nothing is bold."
)


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """What is known of the rank of one row under one metric; shares."""

    score: Difference
    first: int
    last: int
    improvement: float | None  # None for the first row itself

    @property
    def text(self) -> str:
        """The interval of the rank: "2", "1 to 3"."""
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def rank_rows(scores: Scores, rows: Sequence[Sequence[int]], *, better: str) -> list[Ranked]:
    """Return the ranks of rows of one part.

    Args:
        scores: of all runs.
        rows: columns of the seeds of each row, none empty; the first is compared with by the probability.
        better: "max" or "min".
    """
    pairs = list(itertools.combinations(range(len(rows)), 2))
    found = {pair: compare(scores, rows[pair[0]], rows[pair[1]]) for pair in pairs}
    sure = [value < 0.05 for value in holm([found[pair].p_value for pair in pairs])]
    above = [0] * len(rows)
    below = [0] * len(rows)
    for (this, that), is_sure in zip(pairs, sure, strict=True):
        if is_sure:
            is_better = (found[this, that].observed > 0) == (better != "min")
            winner, loser = (this, that) if is_better else (that, this)
            below[winner] += 1
            above[loser] += 1
    return [
        Ranked(
            score=compare(scores, row),
            first=1 + above[number],
            last=len(rows) - below[number],
            improvement=_improvement(scores, row, rows[0], better) if number else None,
        )
        for number, row in enumerate(rows)
    ]


def _improvement(scores: Scores, row: Sequence[int], first: Sequence[int], better: str) -> float:
    these, those = scores.draws_DR[:, list(row), None], scores.draws_DR[:, None, list(first)]
    gain = these - those if better != "min" else those - these
    return float(((gain > 0) + 0.5 * (gain == 0)).mean())


def rank_table(built: Built, resampled: Resampled) -> dict[tuple[int, str], Ranked]:
    """Return the ranks of the rows of an ablation by (position in the published rows, metric), part by part."""
    found: dict[tuple[int, str], Ranked] = {}
    for metric in _tested(resampled):
        scores = resampled.scores[metric.name]
        for _, part in built.published.groupby("part", sort=False):
            lines = list(part.drop_duplicates("variant").index)
            rows = {line: columns_of(built, line, resampled) for line in lines}
            rows = {line: row for line, row in rows.items() if row and np.isfinite(scores.observed_R[row]).all()}
            ranked = dict(zip(rows, rank_rows(scores, list(rows.values()), better=metric.better), strict=True))
            by_variant = {part["variant"][line]: ranked[line] for line in ranked}
            same = {line: by_variant.get(part["variant"][line]) for line in part.index}
            found |= {(line, metric.name): value for line, value in same.items() if value is not None}
    return found


def _tested(resampled: Resampled) -> list[Metric]:
    return [metric for metric in scored_metrics(resampled) if metric.better]


def scored_metrics(resampled: Resampled) -> list[Metric]:
    """Return the main metrics that some run has a score of."""
    scores = resampled.scores
    return [
        metric
        for metric in metrics_of("main")
        if metric.name in scores and np.isfinite(scores[metric.name].observed_R).any()
    ]


def columns_of(built: Built, line: int, resampled: Resampled) -> list[int]:
    """Return the columns of the runs of a published row, in the order of their seeds."""
    rows = built.choice.rows
    mine = rows[(rows["variant"] == built.published.loc[line, "variant"]) & rows["run_id"].isin(resampled.run_ids)]
    return [resampled.run_ids.index(run) for run in mine["run_id"]]


def mark_ranks(built: Built, ranks: dict[tuple[int, str], Ranked]) -> Built:
    """Return the table with marks of certain ranks only, and with the sentence that explains them.

    With one seed of a row no rank is certain, whatever the images tell: another training may reverse it. Neither is one
    among rows of which some were not run, and a row by itself has no rank.

    A measured column without ranks (P@X, which is not tested) loses its marks; the paper's columns keep theirs.
    """
    lines = iter(built.published.index)
    is_sure = fewest_seeds(built) > 1
    complete, compared = _run_together(built)
    rows = []
    for row in built.table.rows:
        cells = row.cells
        if row.kind != "section":
            line, pairs = next(lines), zip(row.cells, built.table.columns, strict=True)
            own = {name: ranked for (of_line, name), ranked in ranks.items() if of_line == line and line in compared}
            cells = tuple(_marked(cell, column, own, is_sure=is_sure and line in complete) for cell, column in pairs)
        rows.append(dataclasses.replace(row, cells=cells))
    of_paper = ["Columns “paper”: highest value bold, second underlined, as numbers."] if built.is_of_paper else []
    note = (SURE if complete.issuperset(built.published.index) else SOME_NOT_RUN) if is_sure else ONE_SEED
    notes = (*([note, *of_paper] if ranks else []), *built.table.notes)
    return dataclasses.replace(built, table=dataclasses.replace(built.table, rows=tuple(rows), notes=notes))


def fewest_seeds(built: Built) -> int:
    """Return the number of seeds of the row that has fewest; 0 where nothing was run."""
    rows = built.choice.rows
    return int(rows.groupby("variant")["seed"].nunique().min()) if len(rows) else 0


def _run_together(built: Built) -> tuple[set[int], set[int]]:
    """Return the rows of parts that were run as a whole, and those of parts with at least two rows that were run."""
    run = set(built.choice.rows["variant"])
    complete: set[int] = set()
    compared: set[int] = set()
    for _, part in built.published.groupby("part", sort=False):
        variants = set(part["variant"]) - {""}
        compared |= set(part.index) if len(variants & run) > 1 else set()
        complete |= set(part.index) if variants <= run else set()
    return complete, compared


def _marked(cell: Cell, column: Column, ranks: dict[str, Ranked], *, is_sure: bool) -> Cell:
    """Return a cell with the mark of its rank; `ranks` are those of its row by metric."""
    if not column.better or not cell.run_ids:
        return cell
    name = next((each.name for each in metrics_of("main") if each.heading in (column.group, column.heading)), "")
    ranked = ranks.get(name)
    rank = ranked.first if ranked is not None and is_sure and ranked.first == ranked.last <= 2 else 0
    sign = MAY_BE_BEST if ranked is not None and ranked.first == 1 and not rank else ""
    return dataclasses.replace(cell, rank=rank, text=cell.text + sign)


def build_ranks(built: Built, resampled: Resampled, ranks: dict[tuple[int, str], Ranked]) -> Table:
    """Return the table of scores with intervals, ranks with intervals and probabilities of improvement."""
    metrics = _tested(resampled)
    levels = "trainings and images" if fewest_seeds(built) > 1 else "images (and trainings, of rows with several seeds)"
    columns = [Column(heading=built.spec.first_heading, numeric=False)]
    for metric in metrics:
        columns += [
            Column(heading="here", group=metric.heading, unit=metric.unit),
            Column(
                heading="95 % interval",
                group=metric.heading,
                unit=metric.unit,
                csv_heading="95 % interval low",
                parts=("95 % interval high",),
            ),
            Column(heading="rank", group=metric.heading, csv_heading="rank first", parts=("rank last",)),
            Column(heading="P(better)", group=metric.heading, unit="%"),
        ]
    rows: list[Row] = []
    for line, heading in lines_with_parts(built):
        rows += heading
        cells = [text_cell(row_label(built, line))]
        for metric in metrics:
            cells += _rank_cells(metric, ranks.get((line, metric.name)))
        rows.append(Row(cells=tuple(cells)))
    return Table(
        name=f"{built.table.name}-ranks",
        title=f"{built.table.title}: ranks",
        caption=f"Scores and ranks of {built.table.title} with 95 % intervals over {levels}. Ranks: all pairs of rows "
        "of a part, Holm. P(better): share of draws and pairs of trainings that score better than the first row.",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def lines_with_parts(built: Built) -> Iterator[tuple[int, list[Row]]]:
    """Yield the position of each row once per part, with the part's heading before its first row."""
    lines = built.published.drop_duplicates(["part", "variant"])
    several = lines["part"].nunique() > 1
    for number, (line, part) in enumerate(zip(lines.index, lines["part"], strict=True)):
        is_first = number == 0 or part != lines["part"].iloc[number - 1]
        yield line, [Row(kind="section", cells=(text_cell(str(part)),))] if several and is_first else []


def row_label(built: Built, line: int) -> str:
    """Return the label of a published row, with its backbone where the table has several."""
    row = built.published.iloc[line]
    return f"{method_label(row)}{', ' + row['Backbones'] if 'Backbones' in row else ''}"


def _rank_cells(metric: Metric, ranked: Ranked | None) -> list[Cell]:
    if ranked is None:
        return [missing_cell("not run"), text_cell(""), text_cell(""), text_cell("")]
    factor, score = metric.factor, ranked.score
    low, high = factor * score.low, factor * score.high
    chance = ranked.improvement
    return [
        Cell(text=metric.text(score.observed), value=round(factor * score.observed, metric.decimals)),
        Cell(text=f"[{low:.2f}, {high:.2f}]", value=round(low, 2), parts=(round(high, 2),)),
        Cell(text=ranked.text, value=float(ranked.first), parts=(float(ranked.last),)),
        text_cell("") if chance is None else Cell(text=f"{100 * chance:.0f}", value=round(100 * chance)),
    ]
