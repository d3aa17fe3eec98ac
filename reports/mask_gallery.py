"""Grids of image, sentence, ground truth and each run's mask (figures 9 and 12): worst, best, largest disagreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.data.masks import decode_filled_mask
from pipeline.records import RecordError
from reports.external import system_label
from reports.ground_truth import Truth
from reports.image_grid import image_grid, show_pixels, show_sentence
from reports.labels import in_order, variant_label
from reports.load import Runs
from reports.outline import outline
from reports.paper import PROPOSED
from reports.run_selection import RunSelection
from reports.style import styled

ROWS = 5
MOST_RUNS = 4
TRUTH_COLOUR, RUN_COLOUR = np.array([0, 170, 120]), np.array([225, 95, 0])
SELECTIONS = {
    "worst": "lowest IoU of {main}",
    "best": "highest IoU of {main}",
    "disagreement": "largest difference between the runs",
}


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Per-sample rows of the shown runs: `shared` has the sample, `iou` and `mask` a column per run.

    `labels` names the runs; `main` is the one by which "worst" and "best" are meant.
    """

    shared: pd.DataFrame
    iou: pd.DataFrame
    mask: pd.DataFrame
    labels: dict[str, str]
    main: str
    problems: tuple[str, ...]


def default_runs(choice: RunSelection) -> dict[str, str]:
    """Return run id -> label of the first seed of up to four variants: baseline and proposed model among them."""
    variants = in_order(choice.rows["variant"])
    kept = sorted(variants, key=lambda variant: variant != PROPOSED)[: MOST_RUNS - 1]
    first = choice.rows.drop_duplicates("variant").set_index("variant")["run_id"]
    return {first[v]: variant_label(v) for v in variants if v in kept or v == variants[0]}


def named_runs(runs: Runs, choice: RunSelection, names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return run id -> label of the runs that the user named, and a line for each that was not on this split."""
    rows = runs.records[(runs.records["split"] == choice.split) & (runs.records["protocol"] == choice.protocol)]
    known = {row["run_id"]: f"{variant_label(row['variant'])}, seed {row['seed']}" for row in rows.to_dict("records")}
    theirs = runs.external[
        (runs.external["split"] == choice.split) & (runs.external["protocol"] == "original")  # the masks stored
    ]
    known |= {row["run_id"]: system_label(row) for row in theirs.to_dict("records")}
    found = {name: known[name] for name in names if name in known}
    return found, [f"gallery without {name}: no record on {choice.split}" for name in names if name not in found]


def read_predictions(
    runs: Runs, choice: RunSelection, names: list[str] | None = None, *, with_masks: bool = True
) -> Predictions:
    """Read the masks of the named runs, or of the choice's own (`default_runs`).

    Without masks they are only looked for, and those of one run are in memory at a time.
    """
    labels, problems = named_runs(runs, choice, names) if names else (default_runs(choice), [])
    score = f"iou_{choice.protocol}"
    columns = ["image_id", "file_name", "ref_id", "expression", "height", "width", "area_ratio", score, "mask_rle"]
    shared, iou, mask = pd.DataFrame(), {}, {}
    for run_id in labels:
        try:
            rows = runs.samples(run_id, choice.split, columns)
        except RecordError as error:
            problems.append(f"gallery without {run_id}: {error}")
            continue
        if len(shared) and not rows["image_id"].equals(shared["image_id"]):
            problems.append(f"gallery without {run_id}: it was evaluated on other samples")
            continue
        shared = rows[[name for name in rows if name not in (score, "mask_rle")]] if shared.empty else shared
        iou[run_id] = rows[score].to_numpy()
        if with_masks:
            mask[run_id] = rows["mask_rle"].to_numpy()
    proposed = choice.rows.loc[choice.rows["variant"] == PROPOSED, "run_id"]
    main = next((run_id for run_id in iou if run_id in set(proposed)), next(reversed(iou), ""))
    return Predictions(
        shared=shared,
        iou=pd.DataFrame(iou),
        mask=pd.DataFrame(mask),
        labels={run_id: labels[run_id] for run_id in iou},
        main=main,
        problems=tuple(problems),
    )


def select(predictions: Predictions, selection: str, count: int = ROWS) -> list[int]:
    """Return the positions of the chosen samples, one per image, ties in the order of the split."""
    iou = predictions.iou
    if iou.empty:
        return []
    main = iou[predictions.main]
    # An empty mask without a target is as good as can be, and shows nothing: it comes after the others.
    best = (-main).where(predictions.shared["area_ratio"] > 0, 0.0)
    value = {"worst": main, "best": best, "disagreement": iou.min(axis=1) - iou.max(axis=1)}[selection]
    order = np.argsort(value.to_numpy(), kind="stable")
    first = predictions.shared["image_id"].iloc[order].drop_duplicates().index[:count]
    return [int(position) for position in first]


@styled
def draw_gallery(predictions: Predictions, truth: Truth, selection: str, choice: RunSelection) -> Figure | None:
    """Draw the grid of one selection; every mask's IoU stands below it, under the headline protocol."""
    chosen = select(predictions, selection)
    if not chosen:
        return None
    names = ["image", "ground truth", *predictions.labels.values()]
    meaning = SELECTIONS[selection].format(main=predictions.labels[predictions.main])
    title = f"{meaning[0].upper()}{meaning[1:]}: {choice.split}, protocol {choice.protocol}, scale {choice.scale}"
    shapes: list[tuple[int, ...]] = [
        (int(row["height"]), int(row["width"])) for _, row in predictions.shared.iloc[chosen].iterrows()
    ]
    figure, grid = image_grid(names, shapes, title)
    for line, position in zip(grid, chosen, strict=True):
        _draw_sample(line, predictions, position, truth)
    return figure


def _draw_sample(line: np.ndarray, predictions: Predictions, position: int, truth: Truth) -> None:
    sample = predictions.shared.iloc[position]
    height, width = int(sample["height"]), int(sample["width"])
    image = truth.image(sample["file_name"])
    known = image is not None and image.shape[:2] == (height, width)
    shown = image if known and image is not None else np.full((height, width, 3), 128, np.uint8)
    show_pixels(line[0], shown, "" if known else "image file not found")
    show_sentence(line[0], sample["expression"], len(line))
    try:
        target_HW = truth.mask(int(sample["ref_id"]))
        show_pixels(line[1], tint(shown, target_HW, TRUTH_COLOUR), "" if target_HW.any() else "no target")
    except (KeyError, ValueError):
        show_pixels(line[1], shown, "no ground truth")
    for axes, run_id in zip(line[2:], predictions.labels, strict=True):
        iou = predictions.iou[run_id].iloc[position]
        try:
            mask = decode_filled_mask(
                bytes(predictions.mask[run_id].iloc[position]), height=height, width=width
            ).astype(bool)
            show_pixels(
                axes, tint(shown, mask, RUN_COLOUR), f"IoU {100 * iou:.1f} %" + ("" if mask.any() else ", empty")
            )
        except ValueError:
            show_pixels(axes, shown, "mask unreadable")


def tint(image_HW3: np.ndarray, mask_HW: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return the image with the mask tinted and outlined, and what is outside of it dimmed."""
    result = image_HW3.astype(np.float64)
    result[~mask_HW] = 0.55 * result[~mask_HW] + 0.45 * 128
    result[mask_HW] = 0.5 * result[mask_HW] + 0.5 * colour
    result[outline(mask_HW, max(1, min(mask_HW.shape) // 120))] = colour
    return result.round().astype(np.uint8)
