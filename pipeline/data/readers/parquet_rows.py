"""Read a parquet file of unknown origin, row group by row group, with bounds on what it can ask for.

A few bytes of parquet can hold a text of a gigabyte once and name it in each of a million rows. Texts are therefore
read as dictionaries, whose size is known before they are written out, and what a batch holds written out is bounded.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import os
import resource
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sharedris.errors import InputError
from sharedris.regular_file import open_regular

MAX_ROWS = 20_000_000
MAX_COLUMNS = 512
MAX_NESTING = 12
MAX_CHUNK_BYTES = 4 << 30
"""Bytes of one column in one row group, unpacked; copies with embedded images have up to 0.5 GB."""
MAX_EXPANSION = 200
"""Most that a column of a row group may unpack to, in multiples of its size in the file; text reaches 30."""
MIN_BUDGET = 64 << 20
MAX_DICTIONARY_BYTES = 64 << 20
"""Largest column of a row group that is read as a dictionary."""
MAX_BATCH_BYTES = 1 << 30
BATCH_ROWS = 64
_THRIFT_BYTES = 64 << 20
_BUFFER_BYTES = 1 << 20
"""Of a column that are read at a time; without it Arrow reads the whole column of a row group at once."""


def parquet_columns(path: Path) -> list[str]:
    """Return the names of the top-level columns.

    Raises:
        InputError: when the file is not parquet, is damaged, or asks for more than the bounds above.
    """
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def parquet_rows(
    path: Path, wanted: Callable[[str], bool], *, batch_rows: int = BATCH_ROWS
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, row) of the wanted columns; only one batch of rows is in memory as values.

    Args:
        path: a parquet file.
        wanted: whether a leaf column is read, by its dotted path without the names of lists (`image.path`).
        batch_rows: rows that are unpacked at a time.

    Raises:
        InputError: as `parquet_columns`, also for pages that are damaged.
    """
    with _opened(path) as file:
        leaves = [leaf for leaf in _leaves(file) if wanted(_plain(leaf))]
        # A large value may be named in every row here as well: one row is all that is safe to unpack.
        rows = 1 if set(leaves) & set(_large_leaves(file)) else batch_rows
        number = 0
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=leaves):
                _require_bounded(batch, path)
                for row in batch.to_pylist():
                    yield number, row
                    number += 1


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file whose footer is sane, texts as dictionaries; an error of Arrow becomes one that names the file."""
    limits = {"thrift_string_size_limit": _THRIFT_BYTES, "thrift_container_size_limit": _THRIFT_BYTES}
    try:
        with open_regular(Path(path)) as stream:
            first = pq.ParquetFile(stream, **limits)
            _require_sane(first, path)
            texts = [leaf for leaf in _byte_leaves(first) if leaf not in _large_leaves(first)]
            yield pq.ParquetFile(
                stream,
                metadata=first.metadata,
                read_dictionary=texts,
                page_checksum_verification=True,
                buffer_size=_BUFFER_BYTES,
                **limits,
            )
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"{path} is not a readable parquet file: {lines[0][:200]}", "Download it again") from None


def _leaves(file: pq.ParquetFile) -> list[str]:
    return [file.schema.column(position).path for position in range(len(file.schema))]


def _plain(leaf: str) -> str:
    """Return the path of a leaf without what parquet calls the levels of a list."""
    parts = leaf.split(".")
    kept = [parts[0]]
    for before, part in itertools.pairwise(parts):
        if not (part == "list" or (before == "list" and part in ("element", "item"))):
            kept.append(part)
    return ".".join(kept)


def _byte_leaves(file: pq.ParquetFile) -> list[str]:
    return [leaf for at, leaf in enumerate(_leaves(file)) if file.schema.column(at).physical_type == "BYTE_ARRAY"]


def _large_leaves(file: pq.ParquetFile) -> list[str]:
    """Return columns of images: as a dictionary, all images of a row group would be in memory twice."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    return [
        leaf
        for at, leaf in enumerate(_leaves(file))
        if file.schema.column(at).physical_type == "BYTE_ARRAY"
        and any(group.column(at).total_uncompressed_size > MAX_DICTIONARY_BYTES for group in groups)
    ]


def _require_sane(file: pq.ParquetFile, path: Path) -> None:
    """Check what the footer promises, before a page is read."""
    metadata = file.metadata
    if not 0 <= metadata.num_rows <= MAX_ROWS or metadata.num_columns > MAX_COLUMNS:
        raise InputError(
            f"{path} has {metadata.num_rows} rows and {metadata.num_columns} columns, more than are read",
            f"At most {MAX_ROWS} and {MAX_COLUMNS}",
        )
    if any(leaf.count(".") > 2 * MAX_NESTING for leaf in _leaves(file)):
        raise InputError(f"{path} nests more than {MAX_NESTING} deep", "Get it from its official source")
    if not _chunks_can_be_asked(metadata):
        raise InputError(f"{path} is not a readable parquet file: its footer is damaged", "Download it again")
    for chunk in _chunks(metadata):
        _require_chunk(chunk, path)


def _chunks(metadata: pq.FileMetaData) -> Iterator[pq.ColumnChunkMetaData]:
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for position in range(row_group.num_columns):
            yield row_group.column(position)


def _chunks_can_be_asked(metadata: pq.FileMetaData) -> bool:
    """Return whether Arrow survives the question: where a footer says "encrypted", its C++ error ends the process.

    A fork asks first. It does nothing else and never returns, so that threads of this process do not matter to it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the abort's own words
            for _ in _chunks(metadata):
                pass
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def _require_chunk(chunk: pq.ColumnChunkMetaData, path: Path) -> None:
    size, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
    if not 0 <= size <= MAX_CHUNK_BYTES:
        raise InputError(
            f"{path} has {size} bytes in one chunk of {chunk.path_in_schema}", f"At most {MAX_CHUNK_BYTES} are read"
        )
    if size > max(MIN_BUDGET, MAX_EXPANSION * packed):
        raise InputError(
            f"{path} is refused: {packed} bytes of {chunk.path_in_schema} unpack to {size}",
            "Get it from its official source",
        )


def _require_bounded(batch: pa.RecordBatch, path: Path) -> None:
    """Check offsets and indices, and how large the batch is when written out.

    Raises:
        InputError: when it is too large; Arrow raises for offsets that point outside of the data.
    """
    batch.validate(full=True)
    size = sum(_written_out(column) for column in batch.columns)
    if size > MAX_BATCH_BYTES:
        raise InputError(
            f"{path} expands to {size} bytes in {batch.num_rows} rows", f"At most {MAX_BATCH_BYTES} are read at a time"
        )


def _written_out(array: pa.Array) -> int:
    """Return the bytes that the texts and values of a column take without dictionaries."""
    if isinstance(array, pa.DictionaryArray):
        lengths = pc.binary_length(array.dictionary)
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if isinstance(array, pa.StructArray):
        return sum(_written_out(array.field(position)) for position in range(array.type.num_fields))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return _written_out(array.flatten())
    if pa.types.is_map(array.type):
        return _written_out(array.keys) + _written_out(array.items)
    return int(array.nbytes)
