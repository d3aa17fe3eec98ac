"""One file to look at samples: image, sentence, true mask and the masks of any two runs, filtered and sorted.

The page takes at most 12 MB per 10,000 expressions: masks are coarse and images are small, as fine as fit. Everything
is text in the page: blocks of deflated bytes in base64, which the browser unpacks when a sample of the block is opened.
Nothing is fetched, so the page works from disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.records import RecordError
from reports.explorer_images import fitting_form, thumbnails
from reports.explorer_masks import BLOCK, PageMasks, packed
from reports.ground_truth import Truth
from reports.labels import variant_label
from reports.load import Runs
from reports.mask_gallery import Predictions, read_predictions
from reports.page import environment, static
from reports.run_selection import RunSelection
from reports.small_masks import grid_size

MOST_RUNS = 16
MOST_BYTES, OF_EXPRESSIONS = 12_000_000, 10_000
"""Of the page, for so many expressions; a split of fewer may take as much."""
IMAGES_PART, USED_PART = 0.4, 0.97
"""Of the page: what small images take at most; what is planned for, since a part of the masks stands for all."""

ImageForm = Literal["thumbnails", "paths", "none"]


@dataclass(frozen=True, kw_only=True)
class Explorer:
    """The page and what could not be shown."""

    html: str
    samples: int
    runs: int
    grid_side: int
    problems: tuple[str, ...]


def build_explorer(
    runs: Runs,
    choice: RunSelection,
    truth: Truth,
    *,
    names: list[str] | None,
    images: ImageForm,
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Explorer:
    """Return the page of one split.

    Args:
        runs: records and samples.
        choice: split and protocol, and the runs that are shown where none is named.
        truth: images and true masks of the split.
        names: ids of the runs, at most MOST_RUNS.
        images: small copies inside the page, paths relative to it, or none.
        out: folder that the page will lie in, for the paths.
        progress: is told how many masks are packed, and of how many.

    Raises:
        RecordError: when no run of the split can be read, or too many are named.
    """
    predictions = _predictions(runs, choice, names)
    files = list(dict.fromkeys(predictions.shared["file_name"]))
    room = MOST_BYTES * max(1.0, len(predictions.shared) / OF_EXPRESSIONS) * USED_PART
    parts = {
        "thumbnails": _thumbnails(truth, files, IMAGES_PART * room) if images == "thumbnails" else "",
        "paths": packed(json.dumps(_paths(truth, files, out)).encode()) if images == "paths" else "",
        "css": static("explorer.css"),
        "script": static("explorer.js"),
    }
    taken = len(_packed_index(predictions, choice, files, 1)) + sum(map(len, parts.values()))
    masks = PageMasks(
        runs=runs,
        split=choice.split,
        run_ids=tuple(predictions.labels),
        truth=truth,
        shared=predictions.shared[["ref_id", "height", "width"]],
    )
    longest = int(masks.shared[["height", "width"]].to_numpy().max())
    side = min(longest, masks.fitting_side(room - taken))
    page = environment().get_template("explorer.html.jinja")
    html = page.render(
        title=f"Samples of {choice.split}",
        subtitle=f"Protocol {choice.protocol}. Masks are drawn {_drawn(side, longest)}; IoU is of the full masks.",
        index=_packed_index(predictions, choice, files, side),
        blocks=masks.blocks(side, progress),
        **parts,
    )
    return Explorer(
        html=html,
        samples=len(predictions.shared),
        runs=len(predictions.labels),
        grid_side=side,
        problems=predictions.problems,
    )


def _predictions(runs: Runs, choice: RunSelection, names: list[str] | None) -> Predictions:
    shown = names or list(choice.rows.drop_duplicates("run_id")["run_id"][:MOST_RUNS])
    if len(shown) > MOST_RUNS:
        raise RecordError(f"{len(shown)} runs are too many for one page", f"Name at most {MOST_RUNS} with --masks-of")
    predictions = read_predictions(runs, choice, shown, with_masks=False)
    if predictions.shared.empty:
        raise RecordError(f"no run of {choice.split or 'any split'} can be shown", "; ".join(predictions.problems))
    return predictions


def _thumbnails(truth: Truth, files: list[str], most_bytes: float) -> str:
    return "\n".join(thumbnails(truth, files, fitting_form(truth, files, most_bytes)))


def _drawn(side: int, longest: int) -> str:
    """Return how masks are drawn; images that are smaller than the grid have a cell per pixel."""
    return (
        f"on a grid of {side} cells on the longer side, so outlines are coarse" if side < longest else "pixel by pixel"
    )


def _packed_index(predictions: Predictions, choice: RunSelection, files: list[str], side: int) -> str:
    return packed(json.dumps(_index(predictions, choice, files, side), ensure_ascii=False).encode())


def _index(predictions: Predictions, choice: RunSelection, files: list[str], side: int) -> dict[str, object]:
    """Return what the page holds of every sample; scores are whole numbers of a thousandth."""
    shared = predictions.shared
    number_of = {name: number for number, name in enumerate(files)}
    sizes = shared.drop_duplicates("file_name").set_index("file_name").loc[files, ["height", "width"]]
    known = choice.rows.drop_duplicates("run_id").set_index("run_id")
    return {
        "block": BLOCK,
        "runs": [
            {"id": run_id, "label": _label(run_id, predictions, known), "main": run_id == predictions.main}
            for run_id in predictions.labels
        ],
        "images": [
            [name, int(row.height), int(row.width), *grid_size(int(row.height), int(row.width), side)]
            for name, row in sizes.iterrows()
        ],
        "image": [number_of[name] for name in shared["file_name"]],
        "sentence": [str(text) for text in shared["expression"]],
        "ref": [int(ref_id) for ref_id in shared["ref_id"]],
        "area": _thousandths(shared["area_ratio"]),
        "iou": [_thousandths(predictions.iou[run_id]) for run_id in predictions.labels],
    }


def _label(run_id: str, predictions: Predictions, known: pd.DataFrame) -> str:
    if run_id not in known.index:
        return predictions.labels[run_id]
    row = known.loc[run_id]
    return f"{variant_label(str(row['variant']))}, seed {row['seed']}"


def _thousandths(values: pd.Series) -> list[int]:
    return [int(value) for value in np.rint(1000 * np.nan_to_num(values.to_numpy(dtype=float)))]


def _paths(truth: Truth, files: list[str], out: Path) -> list[str]:
    """Return the images' paths relative to the page.

    Raises:
        RecordError: for a set whose images lie inside it, which a page cannot show by path.
    """
    if truth.embedded:
        raise RecordError(
            "the images of this set are inside one file, so they have no paths", "Use --images thumbnails"
        )
    return [os.path.relpath(truth.image_root / name, out) for name in files]
