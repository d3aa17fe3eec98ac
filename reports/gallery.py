"""Grids of image, sentence, ground truth and each run's mask (figures 9 and 12): worst, best, largest disagreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.records import RecordError
from reports.choice import Choice
from reports.grid import image_grid, show_pixels, show_sentence
from reports.labels import in_order, variant_label
from reports.load import Runs
from reports.paper import PROPOSED
from reports.rle import decode_mask, outline
from reports.style import styled
from reports.truth import Truth

ROWS = 5
MOST_RUNS = 4
TRUTH_COLOUR, RUN_COLOUR = np.array([0, 170, 120]), np.array([225, 95, 0])
SELECTIONS = {
    "worst": "lowest IoU of the proposed model",
    "best": "highest IoU of the proposed model",
    "disagreement": "largest difference between the runs",
}


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Per-sample rows of the shown runs: `shared` has the sample, `iou` and `mask` a column per variant."""

    shared: pd.DataFrame
    iou: pd.DataFrame
    mask: pd.DataFrame
    problems: tuple[str, ...]


def read_predictions(runs: Runs, choice: Choice) -> Predictions:
    """Read the masks of one run (the first seed) of up to four variants, the proposed model and the baseline first."""
    variants = in_order(choice.rows["variant"])
    kept = sorted(variants, key=lambda v: v != PROPOSED)[: MOST_RUNS - 1]
    kept = [v for v in variants if v in kept or v == variants[0]]
    columns = ["image_id", "file_name", "ref_id", "expression", "height", "width", f"iou_{choice.protocol}", "mask_rle"]
    shared, iou, mask, problems = pd.DataFrame(), {}, {}, []
    for variant in kept:
        run_id = choice.rows.loc[choice.rows["variant"] == variant, "run_id"].iloc[0]
        try:
            rows = runs.samples(run_id, choice.split, columns)
        except RecordError as error:
            problems.append(f"gallery without {run_id}: {error}")
            continue
        if len(shared) and len(rows) != len(shared):
            problems.append(f"gallery without {run_id}: other samples")
            continue
        shared = rows if shared.empty else shared
        iou[variant], mask[variant] = rows[f"iou_{choice.protocol}"].to_numpy(), rows["mask_rle"].to_numpy()
    return Predictions(shared=shared, iou=pd.DataFrame(iou), mask=pd.DataFrame(mask), problems=tuple(problems))


def select(predictions: Predictions, selection: str, count: int = ROWS) -> list[int]:
    """Return the positions of the chosen samples, one per image, ties in the order of the split."""
    iou = predictions.iou
    if iou.empty:
        return []
    main = iou[PROPOSED] if PROPOSED in iou else iou.iloc[:, -1]
    value = {"worst": main, "best": -main, "disagreement": iou.min(axis=1) - iou.max(axis=1)}[selection]
    order = np.argsort(value.to_numpy(), kind="stable")
    first = predictions.shared["image_id"].iloc[order].drop_duplicates().index[:count]
    return [int(position) for position in first]


@styled
def draw_gallery(predictions: Predictions, truth: Truth, selection: str, choice: Choice) -> Figure | None:
    """Draw the grid of one selection; every mask's IoU stands below it, under the headline protocol."""
    chosen = select(predictions, selection)
    if not chosen:
        return None
    names = ["image", "ground truth", *(variant_label(str(variant)) for variant in predictions.iou)]
    meaning = SELECTIONS[selection]
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
        show_pixels(line[1], tint(shown, truth.mask(int(sample["ref_id"])), TRUTH_COLOUR))
    except (KeyError, ValueError):
        show_pixels(line[1], shown, "no ground truth")
    for axes, variant in zip(line[2:], predictions.iou, strict=True):
        iou = predictions.iou[variant].iloc[position]
        try:
            mask = decode_mask(bytes(predictions.mask[variant].iloc[position]), height, width)
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
