"""Digests of what a prepared set holds: of its rows, of its files, and the fingerprint that joins them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pandas as pd
import pyarrow as pa

from pipeline.data.catalog import split_sort_key

_UNDIGESTED = "area_ratio"
"""Column that follows from the others; the text of a float is not part of an identity."""


def file_fingerprint(content: bytes) -> str:
    """Return 16 hex digits of a file's bytes."""
    return file_digest(content)[:16]


def file_digest(content: bytes) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def rows_digest(table: pa.Table) -> str:
    """Return 64 hex digits of the rows' values, the same for any file layout and version of parquet."""
    names = [name for name in table.column_names if name != _UNDIGESTED]
    rows: pd.DataFrame = table.to_pandas()
    for name in ("sent_ids", "expressions"):
        rows[name] = ["\x1f".join(map(str, values)) for values in rows[name]]
    text = "\x1e".join("\x1d".join(map(repr, rows[name].tolist())) for name in names)
    return hashlib.sha256(text.encode()).hexdigest()


def set_fingerprint(family: str, rows: Mapping[str, str], tokenizer_fingerprint: str, *, version: int) -> str:
    """Return 16 hex digits of a prepared set, independent of where its files are.

    Args:
        rows: split -> what `rows_digest` returned.
        version: of the prepared format.
    """
    digest = hashlib.sha256(f"{version} {family}".encode())
    for part in sorted(rows, key=split_sort_key):
        digest.update(part.encode() + bytes.fromhex(rows[part]))
    digest.update(tokenizer_fingerprint.encode())
    return digest.hexdigest()[:16]
