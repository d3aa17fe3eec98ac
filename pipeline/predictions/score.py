"""Predictions against a split: each is checked, compared with its true mask and forgotten; counts are integers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.data.masks import MaskError, encode_mask, mask_area
from pipeline.data.readers.mask_forms import encode_any_form
from pipeline.data.run_lengths import counts_of_runs, filled_counts, mask_overlap
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.predictions.faults import Faults
from pipeline.predictions.form import Prediction
from pipeline.predictions.targets import Targets

_PROGRESS_EVERY = 512


class SizeError(MaskError):
    """A mask of another size than the one that it is compared with."""


@dataclass(frozen=True, kw_only=True)
class ScoredPredictions:
    """The result of one split.

    Attributes:
        samples: per-sample rows, columns of `sample_schema`; those of other protocols are null.
        missing: expressions without a prediction, scored as empty masks.
        unknown: predictions of other splits, left out.
    """

    samples: pd.DataFrame
    missing: int
    unknown: int


def score_predictions(
    targets: Targets,
    predictions: Iterable[Prediction],
    *,
    allow_missing: bool = False,
    allow_unknown: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ScoredPredictions:
    """Return the per-sample rows of predictions, one for every expression of the split.

    Args:
        targets: the split.
        predictions: read one at a time, in any order.
        allow_missing: score expressions without a prediction as empty masks.
        allow_unknown: leave out predictions for expressions that the split does not have.
        on_progress: called with (predictions done, expressions of the split).

    Raises:
        InputError: for missing, double, unknown, wrongly sized and unreadable predictions, counted together.
    """
    faults, count = Faults(), len(targets)
    masks: list[bytes | None] = [None] * count
    overlap = np.zeros(count, dtype=np.int64)
    seen = np.zeros(count, dtype=bool)
    for number, prediction in enumerate(predictions):
        if number % _PROGRESS_EVERY == 0:
            on_progress(min(number, count), count)
        for place in _places(prediction, targets, seen, faults):
            seen[place] = True
            masks[place], overlap[place] = _compared(prediction, place, targets, faults)
    on_progress(count, count)
    for absent in np.flatnonzero(~seen).tolist():
        faults.add("missing", _describe(targets, absent))
    allowed = [*(["missing"] if allow_missing else []), *(["unknown"] if allow_unknown else [])]
    faults.refuse(targets.split, allowed=tuple(allowed))
    return ScoredPredictions(
        samples=_rows(targets, masks, overlap),
        missing=faults.counts["missing"],
        unknown=faults.counts["unknown"],
    )


def _places(prediction: Prediction, targets: Targets, seen: np.ndarray, faults: Faults) -> tuple[int, ...]:
    """Return the expressions that a prediction answers, after counting what is wrong with its key."""
    if prediction.key is None:
        faults.add("unreadable", f"{prediction.where}: {prediction.problem}")
        return ()
    places = targets.places(prediction.key)
    if not places:
        faults.add("unknown", f"{prediction.where}: {prediction.key}")
    if any(seen[place] for place in places):
        faults.add("double", f"{prediction.where}: {prediction.key}")
        return ()
    return places


def _compared(prediction: Prediction, place: int, targets: Targets, faults: Faults) -> tuple[bytes | None, int]:
    """Return the counts of a predicted mask and the pixels that it shares with the true one; None after a fault."""
    height, width = targets.size(place)
    if prediction.problem:
        faults.add("unreadable", f"{prediction.where}: {prediction.problem}")
        return None, 0
    try:
        counts = compressed(prediction.mask, height=height, width=width, where=prediction.where)
    except SizeError as error:
        faults.add("wrongly sized", f"{prediction.where}: {error}")
        return None, 0
    except MaskError as error:
        faults.add("unreadable", f"{prediction.where}: {error}")
        return None, 0
    return counts, mask_overlap(counts, targets.mask(place), height=height, width=width)


def compressed(mask: Any, *, height: int, width: int, where: str) -> bytes:
    """Return the compressed RLE counts of a mask in any form; equal masks give equal bytes.

    Raises:
        SizeError: for a mask of another size.
        MaskError: for anything that is not a mask.
    """
    if isinstance(mask, np.ndarray):
        if mask.shape != (height, width):
            raise SizeError(_sizes(list(mask.shape), height, width))
        return encode_mask(mask)
    if isinstance(mask, dict):
        size = mask.get("size")
        if isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size):
            if size != [height, width]:
                raise SizeError(_sizes(size, height, width))
            if (counts := mask.get("counts")) is not None:
                return _of_rle(counts, mask, height, width, where)
    return filled_counts(
        encode_any_form(mask, height=height, width=width, where=where, skipped=[]), height=height, width=width
    )


def _of_rle(counts: Any, mask: dict[str, Any], height: int, width: int, where: str) -> bytes:
    """Return canonical counts without decoding the mask; rare forms go the way that decodes."""
    if isinstance(counts, list) and all(type(run) is int for run in counts):
        return counts_of_runs(counts, height=height, width=width)
    if isinstance(counts, str) and counts[:2] not in ("b'", 'b"'):
        counts = counts.encode(errors="surrogatepass")
    if isinstance(counts, bytes):
        return filled_counts(counts, height=height, width=width)
    return encode_any_form(mask, height=height, width=width, where=where, skipped=[])


def _sizes(size: list[int], height: int, width: int) -> str:
    return f"{' x '.join(map(str, size[:4]))} for {height} x {width} (height x width)"


def _describe(targets: Targets, place: int) -> str:
    return f"sent_id {targets.sent_ids[place]}"


def _rows(targets: Targets, masks: list[bytes | None], overlap: np.ndarray) -> pd.DataFrame:
    """Return the per-sample rows of the one protocol that is scored; an absent mask is empty."""
    count = len(targets)
    true_area, area = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for place, mask in enumerate(masks):
        height, width = targets.size(place)
        if mask is None:
            masks[place] = counts_of_runs([height * width], height=height, width=width)
        else:
            area[place] = mask_area(mask, height=height, width=width)
        true_area[place] = mask_area(targets.mask(place), height=height, width=width)
    union = area + true_area - overlap
    name = "original" if targets.input_size is None else "input"
    found = targets.columns()
    found[f"intersection_{name}"], found[f"union_{name}"] = overlap, union
    found[f"iou_{name}"] = np.where(union > 0, overlap / np.maximum(union, 1), 1.0)
    found[f"target_area_{name}"] = true_area
    if name == "original":
        found["mask_rle"] = masks
    else:  # the column holds masks of the original size, which nobody has given
        found["target_area_original"] = targets.original_areas()
    absent = [each for each in sample_schema().names if each not in found and each != "schema_version"]
    return found.assign(**{each: pd.Series([None] * count, dtype=object) for each in absent})
