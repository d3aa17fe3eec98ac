"""The rows of one prepared split, verified, and keys of its images that other sets share."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from pipeline.data.prepared.manifest import Manifest
from pipeline.data.prepared.verification import parse_rows, read_verified
from sharedris.errors import InputError

_COLUMNS = ["ref_id", "image_id", "file_name", "image_digest", "height", "width", "mask_rle", "area_ratio"]


def read_split(manifest: Manifest, part: str) -> pa.Table:
    """Return the rows of a prepared split.

    Raises:
        InputError: when the set has no such split, or it is empty, unreadable or not what was prepared.
    """
    if part not in manifest.splits:
        there = ", ".join(manifest.splits)
        raise InputError(f"{manifest.set} as prepared has no split {part!r}", f"It has: {there}")
    place = manifest.split_place(part)
    table = parse_rows(place, read_verified(manifest, part), columns=[*_COLUMNS, "sent_ids", "expressions"])
    if table.num_rows == 0:
        raise InputError(f"{manifest.set}/{part} is empty", "Prepare the set again from complete annotations")
    if table.num_rows != manifest.splits[part].refs:
        counts = f"{table.num_rows} refs, its manifest counts {manifest.splits[part].refs}"
        raise InputError(f"{manifest.set}/{part} has {counts}", "Prepare the set again")
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
