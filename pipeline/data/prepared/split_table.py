"""The rows of one prepared split, and keys of its images that other sets share."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.prepared.manifest import Manifest
from sharedris.errors import InputError

_COLUMNS = ["ref_id", "image_id", "file_name", "image_digest", "height", "width", "mask_rle", "area_ratio"]


def read_split(manifest: Manifest, part: str) -> pa.Table:
    """Return the rows of a prepared split.

    Raises:
        InputError: when the set has no such split, or it is empty or unreadable.
    """
    if part not in manifest.splits:
        there = ", ".join(manifest.splits)
        raise InputError(f"{manifest.set} as prepared has no split {part!r}", f"It has: {there}")
    place = manifest.split_place(part)
    try:
        with place.filesystem.open_input_file(place.path) as stream:
            table = pq.read_table(stream, columns=[*_COLUMNS, "sent_ids", "expressions"])
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{place} cannot be read: {str(error).splitlines()[0]}", "Prepare the set again") from None
    if table.num_rows == 0:
        raise InputError(f"{manifest.set}/{part} is empty", "Prepare the set again from complete annotations")
    return table


def image_keys(manifest: Manifest, table: pa.Table) -> list[tuple[str, str]]:
    """Return two keys of each row's image; another set has the same image if it has either of them.

    The first is the id within the family (RefCOCO, RefCOCO+ and RefCOCOg share COCO's ids), the second the digest of
    the file's bytes; the digest is empty where images were not read.
    """
    ids, digests = table["image_id"].to_pylist(), table["image_digest"].to_pylist()
    return [(f"{manifest.family}:{name}", digest) for name, digest in zip(ids, digests, strict=True)]


def keys_in(keys: list[tuple[str, str]], wanted: Collection[str]) -> np.ndarray:
    """Return, per row, whether either key of its image is in `wanted`."""
    return np.array([name in wanted or digest in wanted for name, digest in keys], dtype=bool)
