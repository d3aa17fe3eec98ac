"""One file to look at samples: image, sentence, true mask and the masks of any two runs, filtered and sorted.

Masks are coarse and images are thumbnails, so that 10,000 expressions of 16 runs stay below 12 MB. Everything is text
in the page: blocks of deflated bytes in base64, which the browser unpacks when a sample of the block is opened. Nothing
is fetched, so the page works from disk.
"""

from __future__ import annotations

import base64
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.data.masks import decode_filled_mask
from pipeline.records import RecordError
from reports.ground_truth import Truth
from reports.labels import variant_label
from reports.load import Runs
from reports.mask_gallery import Predictions, read_predictions
from reports.page import environment, static
from reports.run_selection import RunSelection
from reports.small_masks import grid_size, run_lengths, shrink

MOST_RUNS = 16
BLOCK = 100
"""Samples whose masks are unpacked together."""
SIDES = (128, 96, 64, 48)
"""Longer sides of the grids of masks, tried until the masks fit their part of the file."""
TRIED_BLOCKS = 6
MOST_MASK_BYTES_EACH = 36
"""Of a mask, deflated: 16 runs and the truth of 10,000 expressions then take 8.2 MB in base64."""
THUMBNAIL_SIDE, THUMBNAIL_QUALITY = 128, 35

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
        progress: is told how many samples are packed, and of how many.

    Raises:
        RecordError: when no run of the split can be read, or too many are named.
    """
    shown = names or list(choice.rows.drop_duplicates("run_id")["run_id"][:MOST_RUNS])
    if len(shown) > MOST_RUNS:
        raise RecordError(f"{len(shown)} runs are too many for one page", f"Name at most {MOST_RUNS} with --masks-of")
    predictions = read_predictions(runs, choice, shown)
    if predictions.shared.empty:
        raise RecordError(f"no run of {choice.split or 'any split'} can be shown", "; ".join(predictions.problems))
    side = _fitting_side(predictions, truth)
    blocks = []
    for samples in _block_starts(predictions):
        blocks.append(_block(predictions, truth, side, samples))
        progress(samples.stop, len(predictions.shared))
    files = list(dict.fromkeys(predictions.shared["file_name"]))
    html = (
        environment()
        .get_template("explorer.html.jinja")
        .render(
            title=f"Samples of {choice.split}",
            subtitle=f"Protocol {choice.protocol}. Masks on a grid of {side} cells, so outlines are coarse; "
            "IoU is of the full masks.",
            index=_packed(json.dumps(_index(predictions, choice, files, side), ensure_ascii=False).encode()),
            blocks=blocks,
            thumbnails=list(_thumbnails(truth, files)) if images == "thumbnails" else [],
            paths=_packed(json.dumps(_paths(truth, files, out)).encode()) if images == "paths" else "",
            css=static("explorer.css"),
            script=static("explorer.js"),
        )
    )
    return Explorer(
        html=html,
        samples=len(predictions.shared),
        runs=len(predictions.labels),
        grid_side=side,
        problems=predictions.problems,
    )


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


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


def _fitting_side(predictions: Predictions, truth: Truth) -> int:
    """Return the finest grid whose masks fit, by some blocks of the split; the coarsest where none does."""
    blocks = _block_starts(predictions)
    some = blocks[:: max(1, len(blocks) // TRIED_BLOCKS)]
    masks = sum(len(start) for start in some) * (len(predictions.labels) + 1)
    for side in SIDES:
        packed = sum(len(_block(predictions, truth, side, samples)) for samples in some) * 3 / 4
        if packed <= MOST_MASK_BYTES_EACH * masks:
            return side
    return SIDES[-1]


def _block_starts(predictions: Predictions) -> list[range]:
    count = len(predictions.shared)
    return [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def _block(predictions: Predictions, truth: Truth, side: int, samples: range) -> str:
    """Return the masks of some samples, packed: per sample the true one, then one per run."""
    content = bytearray()
    rows = predictions.shared.iloc[samples.start : samples.stop]
    masks = [predictions.mask[run_id].iloc[samples.start : samples.stop].tolist() for run_id in predictions.labels]
    for position, row in enumerate(rows[["ref_id", "height", "width"]].itertuples(index=False)):
        ref_id, height, width = (int(value) for value in row)
        size = grid_size(height, width, side)
        content += run_lengths(_true_mask(truth, ref_id, size))
        for of_run in masks:
            content += run_lengths(_mask(of_run[position], height, width, size))
    return _packed(bytes(content))


def _true_mask(truth: Truth, ref_id: int, size: tuple[int, int]) -> np.ndarray:
    try:
        return shrink(truth.mask(ref_id), size)
    except (KeyError, ValueError):
        return np.zeros(size, dtype=bool)


def _mask(rle: object, height: int, width: int, size: tuple[int, int]) -> np.ndarray:
    """Return a run's mask on the grid; one that cannot be read is empty there, and its IoU still stands."""
    try:
        return shrink(decode_filled_mask(bytes(rle), height=height, width=width), size)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return np.zeros(size, dtype=bool)


def _thumbnails(truth: Truth, files: list[str]) -> Iterator[str]:
    """Yield a small WebP per image in base64, "" where the image is not there."""
    for name in files:
        pixels = truth.image(name)
        if pixels is None:
            yield ""
            continue
        image = Image.fromarray(pixels)
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        out = io.BytesIO()
        image.save(out, format="webp", quality=THUMBNAIL_QUALITY, method=4)
        yield base64.b64encode(out.getvalue()).decode()


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
