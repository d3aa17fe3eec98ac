"""Predictions as parquet: the columns of the JSON form, or the per-sample rows that this project writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.data.readers.json_stream import unique_keys
from pipeline.data.readers.parquet_rows import parquet_columns, parquet_rows
from pipeline.predictions.form import Prediction, prediction_of_fields
from sharedris.errors import InputError

_KEYS = ("sent_id", "ref_id", "sentence_index")
_MASKS = ("segmentation", "mask_rle")
_ROWS_AT_ONCE = 256


def read_parquet(path: Path) -> Iterator[Prediction]:
    """Yield the prediction of each row.

    `segmentation` is a struct of `size` and `counts`, or JSON text; `mask_rle` with `height` and `width` are columns of
    per-sample rows.

    Raises:
        InputError: when the file is not parquet, is damaged, unpacks out of proportion, or has no column with masks.
    """
    names = parquet_columns(path)
    mask = next((name for name in _MASKS if name in names), None)
    if mask is None:
        raise InputError(f"{path} has no column segmentation or mask_rle", f"It has: {', '.join(names[:12])}")
    wanted = {*_KEYS, mask, *(("height", "width") if mask == "mask_rle" else ())}
    for number, row in parquet_rows(path, lambda leaf: leaf.partition(".")[0] in wanted, batch_rows=_ROWS_AT_ONCE):
        yield _prediction(row, f"{path.name}, row {number}")


def _prediction(row: dict[str, Any], where: str) -> Prediction:
    if "mask_rle" in row:
        size = [row.get("height"), row.get("width")]
        row = {**row, "segmentation": {"size": size, "counts": row["mask_rle"]}}
    elif isinstance(row["segmentation"], str):
        try:
            row = {**row, "segmentation": json.loads(row["segmentation"], object_pairs_hook=unique_keys)}
        except (ValueError, RecursionError):
            row = {name: value for name, value in row.items() if name != "segmentation"}
            return Prediction(where, prediction_of_fields(row, where).key, problem="its segmentation is not JSON")
    return prediction_of_fields(row, where)
