"""The smallest difference that a planned sweep can show, from earlier records or from a stated assumption."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.prepared.manifest import load_manifest
from pipeline.evaluation.metrics import record_schema
from pipeline.evaluation.power import ASSUMED, Variation, influence, measure
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.records import RecordError, list_runs, read_columns, record_path, samples_path
from sharedris.errors import InputError
from sweeps.plan import SweepPlan

PROTOCOL = "original"
MOST_RUNS = 24
"""Runs whose samples are read: more change nothing that is printed."""


def power_report(plan: SweepPlan, prepared_root: str, *, points: float, training_points: float | None = None) -> str:
    """Return in lines which difference of mIoU the sweep can show, and what a wished one needs.

    Args:
        plan: the sweep.
        prepared_root: folder of the prepared sets, for the number of images.
        points: the wished difference in points of mIoU.
        training_points: deviation between trainings; default: as measured, or as assumed.
    """
    configs = [planned.cell.config for planned in plan.cells if planned.cell.config is not None]
    splits = list(dict.fromkeys(split for config in configs for split in config.data.evaluate_splits))
    seeds = len({planned.cell.seed for planned in plan.cells})
    if not splits:
        return "smallest visible difference: no split is evaluated"
    try:
        images = _images_of(splits[0], prepared_root)
    except InputError as error:
        return f"smallest visible difference: unknown, {error.message}"
    variation = measured_variation(plan.runs_root, splits[0], configs[0].model.scale) or ASSUMED
    if training_points is not None:
        given = f"{variation.source}; {training_points:g} points between trainings (given)"
        variation = dataclasses.replace(variation, training=training_points / 100, source=given)
    elif variation.training is None:
        guess = (
            f"{variation.source}, one seed each; between trainings {100 * (ASSUMED.training or 0):g} points (assumed)"
        )
        variation = dataclasses.replace(variation, training=ASSUMED.training, source=guess)
    return "\n".join(_lines(variation, splits[0], images, seeds, points / 100))


def _images_of(split: str, prepared_root: str) -> int:
    name, _, part = split.partition("/")
    counts = load_manifest(prepared_root, name).splits
    if part not in counts:
        raise InputError(f"{name} has no split {part}", "Prepare the set again")
    return counts[part].images


def _lines(variation: Variation, split: str, images: int, seeds: int, wished: float) -> list[str]:
    shown = 100 * variation.visible(images=images, seeds=seeds)
    head = (
        f"smallest visible difference: {shown:.2f} points of mIoU on {split} ({images:,} images, {seeds} "
        f"seed{'s' if seeds > 1 else ''}; 80 % power, 5 % two-sided, paired by image)"
    )
    unit = "point needs" if wished == 0.01 else "points need"
    lines = [head, f"  {100 * wished:g} {unit} {variation.needs(wished, images=images, seeds=seeds)}"]
    if seeds == 1:
        lines.append(
            "  1 seed: what trainings vary is not in it, so the rows' order may be that of two trainings (--seeds 3)"
        )
    return [*lines, f"  {variation.source}"]


def measured_variation(runs_root: Path, split: str, scale: str) -> Variation | None:
    """Return the variation of earlier runs on a split, of the recipe with most of them; None for less than two rows.

    Files that cannot be read are left out: a plan needs none of them, and the report names them.
    """
    found = [
        record for run_id in list_runs(runs_root) if (record := _record(runs_root, run_id, split, scale)) is not None
    ]
    if not found:
        return None
    records = pd.DataFrame(found)
    recipe = records["recipe"].value_counts().index[0]
    records = records[records["recipe"] == recipe].sort_values(["variant", "seed"]).head(MOST_RUNS)
    read = {
        run_id: samples for run_id in records["run_id"] if (samples := _samples(runs_root, run_id, split)) is not None
    }
    if not read:
        return None
    first = next(iter(read.values()))
    read = {run: each for run, each in read.items() if np.array_equal(each["image_id"], first["image_id"])}
    iou_NR = np.stack([each[f"iou_{PROTOCOL}"] for each in read.values()], axis=1)
    moved_CR, _ = influence(first["image_id"].to_numpy(), iou_NR, np.ones((len(first), 1)))
    place = {run: number for number, run in enumerate(read)}
    rows = [[place[run] for run in rows["run_id"] if run in place] for _, rows in records.groupby("variant")]
    words = f"measured on {len(read)} earlier runs of scale {scale}, recipe {recipe}"
    return measure(moved_CR, iou_NR.mean(axis=0), rows, words)


def _record(runs_root: Path, run_id: str, split: str, scale: str) -> dict[str, object] | None:
    names = ["run_id", "variant", "recipe", "seed", "scale", "split", "protocol"]
    try:
        rows = read_columns(record_path(runs_root, run_id), record_schema(), names)
    except RecordError:
        return None
    mine = rows[(rows["split"] == split) & (rows["scale"] == scale) & (rows["protocol"] == PROTOCOL)]
    return dict(mine.iloc[0]) if len(mine) else None


def _samples(runs_root: Path, run_id: str, split: str) -> pd.DataFrame | None:
    path = samples_path(runs_root, run_id, split)
    if not path.exists():
        return None
    try:
        rows = read_columns(path, sample_schema(), ["index", "image_id", f"iou_{PROTOCOL}"])
    except RecordError:
        return None
    return rows.sort_values("index", ignore_index=True)
