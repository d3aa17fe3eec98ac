"""Digests of the columns of parquet files, in their metadata: page checksums leave out headers and column names."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

_WHOLE_KEY = b"sharedris.sha256"
_COLUMNS_KEY = b"sharedris.sha256.columns"
"""A digest per column, so that a reader of some columns verifies them; files of before have one of all values."""


class DigestError(ValueError):
    """Content that differs from its digest."""


def with_digests(table: pa.Table) -> pa.Table:
    """Return the table with the digest of each column in its metadata, in place of what is there."""
    digests = {name: _column_digest(table[name]) for name in table.column_names}
    return table.replace_schema_metadata({_COLUMNS_KEY: json.dumps(digests).encode()})


def read_digested(content: bytes, columns: Sequence[str] | None) -> pa.Table:
    """Return a parquet file's columns, all for None, verified against page checksums and digests.

    A file of version 0.2 has one digest of all its values, so that all are read; one of version 0.1 has none.

    Raises:
        DigestError: for content that differs from its digest. Damaged metadata raises nearly any other type.
    """
    file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
    metadata, there = file.schema_arrow.metadata or {}, file.schema_arrow.names
    digests = json.loads(metadata[_COLUMNS_KEY]) if _COLUMNS_KEY in metadata else None
    whole = metadata.get(_WHOLE_KEY) if digests is None else None
    chosen = there if columns is None or whole is not None else [name for name in there if name in columns]
    table = file.read(columns=chosen, use_threads=False)
    good = whole is None or whole == _whole_digest(table)
    if digests is not None:  # a name that a flipped bit changed would read as a missing column
        good = set(digests) == set(there) and all(digests[name] == _column_digest(table[name]) for name in chosen)
    if not good:
        raise DigestError("its content differs from its checksum")
    return table


def _column_digest(column: pa.ChunkedArray) -> str:
    """Return a digest of a column: of the bytes of numbers, which is fast, else of Python's text of each value."""
    kind = column.type
    if column.null_count == 0 and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        numbers = column.to_numpy().astype(kind.to_pandas_dtype()).astype(f"<{kind.to_pandas_dtype()().dtype.str[1:]}")
        return hashlib.sha256(f"{kind}\n".encode() + numbers.tobytes()).hexdigest()
    digest = hashlib.sha256()  # without the type: parquet renames the fields of a list
    for value in column.to_pylist():
        digest.update(f"{value!r}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _whole_digest(table: pa.Table) -> bytes:
    """Return the digest of all values that version 0.2 wrote, by Python's text of each."""
    digest = hashlib.sha256()
    for name in sorted(table.column_names):
        digest.update(f"{name}\n".encode())
        for value in table.column(name).to_pylist():
            digest.update(f"{value!r}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest().encode()
