"""Predictions as parquet: the columns of the JSON form, or the per-sample rows that this project writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.data.readers.json_stream import unique_keys
from pipeline.predictions.form import Prediction, prediction_of_fields
from sharedris.errors import InputError
from sharedris.regular_file import open_regular

_KEYS = ("sent_id", "ref_id", "sentence_index")
_MASKS = ("segmentation", "mask_rle")
_ROWS_AT_ONCE = 256


def read_parquet(path: Path) -> Iterator[Prediction]:
    """Yield the prediction of each row.

    `segmentation` is a struct of `size` and `counts`, or JSON text; `mask_rle` with `height` and `width` are columns of
    per-sample rows.

    Raises:
        InputError: when the file is not parquet, is damaged, or has no column with masks.
    """
    number = 0
    with open_regular(path) as stream:
        rows = _rows(path, stream)
        for row in rows:
            yield _prediction(row, f"{path.name}, row {number}")
            number += 1


def _rows(path: Path, stream: Any) -> Iterator[dict[str, Any]]:
    try:
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        names = file.schema_arrow.names
        mask = next((name for name in _MASKS if name in names), None)
        wanted = [
            name for name in (*_KEYS, mask, *(("height", "width") if mask == "mask_rle" else ())) if name in names
        ]
        if mask is not None:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=wanted, use_threads=False):
                yield from batch.to_pylist()
    except Exception as error:  # damaged metadata raises nearly any type
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be read as parquet: {reason}", "Write it again") from None
    if mask is None:
        raise InputError(f"{path} has no column segmentation or mask_rle", f"It has: {', '.join(names[:12])}")


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
