"""How much a score varies with the training, the image and the sentence, and the difference that a table could show."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from pipeline.evaluation.metrics import Metric
from pipeline.evaluation.power import ASSUMED, Variation, measure
from reports.bootstrap_samples import Resampled
from reports.layout import Cell, Column, Row, Table, missing_cell, text_cell
from reports.ranks import columns_of, fewest_seeds, lines_with_parts, row_label, scored_metrics
from reports.tables import Built
from reports.two_level import variance_of

PARTS = ("training", "image", "sentence")
WISHED_POINTS = 1.0


def split_variance(resampled: Resampled, metric: str, row: list[int]) -> tuple[float, float, float]:
    """Return the deviations of one training's score that come from the training, the images and the sentences.

    Shares; nan where a part is not known: training with one seed, sentences where every image has one.

    The training's part is the variance between seeds less what the images make of it; the sentences' is that within
    images, and the images' the rest of the variance over whole images (a nested analysis of variance).
    """
    scores = resampled.scores[metric]
    parts = variance_of(scores.observed_R[row], scores.draws_DR[:, row])
    training = math.sqrt(parts.training * parts.count) if parts.count > 1 else math.nan
    images = float(np.mean((resampled.moved[metric][:, row] ** 2).sum(axis=0)))
    sentence = float(np.mean(resampled.sentence[metric][row]))
    if math.isnan(sentence):
        return training, math.sqrt(images), math.nan
    return training, math.sqrt(max(0.0, images - sentence)), math.sqrt(sentence)


def variation_of(built: Built, resampled: Resampled, metric: str) -> Variation | None:
    """Return how much differences of a table's rows vary; None where less than two rows were run."""
    lines = built.published.drop_duplicates("variant").index
    rows = [row for line in lines if (row := columns_of(built, line, resampled))]
    scores = resampled.scores[metric]
    rows = [row for row in rows if np.isfinite(scores.observed_R[row]).all()]
    return measure(resampled.moved[metric], scores.observed_R, rows, "measured on these runs")


def build_variation(built: Built, resampled: Resampled) -> Table:
    """Return the table that splits each score's deviation, with the smallest visible differences as notes."""
    metrics = scored_metrics(resampled)
    columns = [Column(heading=built.spec.first_heading, numeric=False), Column(heading="seeds")]
    for metric in metrics:
        columns += [Column(heading=part, group=metric.heading, unit=points(metric)) for part in PARTS]
    rows: list[Row] = []
    for line, heading in lines_with_parts(built):
        rows += heading
        row = columns_of(built, line, resampled)
        cells = [text_cell(row_label(built, line)), Cell(text=str(len(row)), value=float(len(row)))]
        for metric in metrics:
            if not row:
                cells += [missing_cell("not run"), text_cell(""), text_cell("")]
                continue
            parts = split_variance(resampled, metric.name, row)
            cells += [_part(metric, value, name) for name, value in zip(PARTS, parts, strict=True)]
        rows.append(Row(cells=tuple(cells)))
    return Table(
        name=f"{built.table.name}-variation",
        title=f"{built.table.title}: variation",
        caption=f"Deviation of one training's score of {built.table.title} in points, by what it comes from: another "
        "training (seed), other images, other sentences of the same images.",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=visible_notes(built, resampled),
    )


def points(metric: Metric) -> str:
    """Return the unit of a difference of two scores."""
    return "points" if metric.unit == "%" else metric.unit


def _part(metric: Metric, value: float, name: str) -> Cell:
    if math.isnan(value):
        return missing_cell("one seed" if name == "training" else "one each", "this part cannot be told from the rest")
    shown = metric.factor * value
    return Cell(text=f"{shown:.2f}", value=round(shown, 2))


def visible_notes(built: Built, resampled: Resampled, wished: float = WISHED_POINTS) -> tuple[str, ...]:
    """Return in a sentence the smallest visible difference of each main metric, and what one of `wished` points needs.

    With one seed the number is over images only, and the note says what that leaves out.
    """
    seeds = fewest_seeds(built)
    seen: list[str] = []
    images = 0
    for metric in scored_metrics(resampled):
        variation = variation_of(built, resampled, metric.name)
        if variation is not None:
            images = len(resampled.moved[metric.name])
            seen.append(visible_words(variation, metric, images, seeds, wished))
    if not seen:
        return ()
    counted = f"{images:,} images, {seeds} seed{'s' if seeds > 1 else ''}"
    rule = f"Smallest visible difference of two rows (80 % power, 5 % two-sided, paired by image; {counted})"
    one = " What trainings vary is not in it: a difference may be one between two trainings (run 3 seeds)."
    return (f"{rule}: {'; '.join(seen)}.{one if seeds == 1 else ''}",)


def visible_sentence(built: Built, resampled: Resampled) -> str:
    """Return the smallest visible difference of each main metric and all that it assumes; empty without scores.

    Where fewer than two rows were run, the variation is that of `pipeline.evaluation.power.ASSUMED`.
    """
    seeds = fewest_seeds(built)
    shown: list[str] = []
    images, source = 0, ""
    for metric in scored_metrics(resampled):
        variation = variation_of(built, resampled, metric.name) or ASSUMED
        images, source = len(resampled.moved[metric.name]), variation.source
        shown.append(f"{metric.heading} {metric.factor * variation.visible(images=images, seeds=seeds):.2f}")
    if not shown or not images:
        return ""
    trainings = f"{seeds} seeds a row" if seeds > 1 else "one seed a row, so what trainings vary is left out"
    return (
        f"two rows have to differ by {' or '.join(shown)} points to be told apart ({images:,} images, {trainings}). "
        f"Assumes: found in 80 of 100 repetitions by a two-sided test at 5 %, paired by image; variation {source}."
    )


def with_visible(built: Built, resampled: Resampled) -> Built:
    """Return the table with the differences that its runs could have shown as notes."""
    notes = (*built.table.notes, *visible_notes(built, resampled))
    return dataclasses.replace(built, table=dataclasses.replace(built.table, notes=notes))


def visible_words(variation: Variation, metric: Metric, images: int, seeds: int, wished: float) -> str:
    """Return what is visible of a metric, and with several seeds what a wished difference (as printed) needs."""
    factor, unit = metric.factor, points(metric)
    now = f"{metric.heading} {factor * variation.visible(images=images, seeds=seeds):.2f} {unit}"
    goal = f"{wished:g} {unit.removesuffix('s') if wished == 1 else unit}".rstrip()
    return now if seeds == 1 else f"{now} ({goal}: {variation.needs(wished / factor, images=images, seeds=seeds)})"
