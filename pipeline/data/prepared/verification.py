"""Compares a prepared set with its manifest: nothing else than what was prepared is trained or scored on.

The files of a split are compared by their digests whenever they are read, which takes milliseconds. The fingerprint is
recomputed from all rows by `sharedris data check`, and on loading where the manifest, of version 0.1, has no digests.
"""

from __future__ import annotations

import functools
import logging

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.prepared.embedded_images import EmbeddedImages
from pipeline.data.prepared.fingerprint import file_digest, file_fingerprint, rows_digest, set_fingerprint
from pipeline.data.prepared.manifest import EMBEDDED, PREPARED_VERSION, REF_SCHEMA, TOKENIZER, Manifest, load_manifest
from pipeline.data.readers.images import content_digest
from pipeline.data.storage import Place
from sharedris.errors import InputError

_LOGGER = logging.getLogger(__name__)
_AGAIN = "Restore the file, or prepare the set again"


def read_verified(manifest: Manifest, part: str) -> bytes:
    """Return the bytes of a split's parquet file, the same as were written.

    Raises:
        InputError: when the file is missing or differs from what was prepared.
    """
    place = manifest.split_place(part)
    content = place.read_bytes()
    if not manifest.has_digests:
        _require_fingerprint(manifest.prepared_root, manifest.set, _stamps(manifest))
    elif file_digest(content) != manifest.file_digests[part]:
        raise InputError(f"{place} cannot be read: it was changed after it was prepared (its SHA-256 differs)", _AGAIN)
    return content


def parse_rows(place: Place, content: bytes, *, columns: list[str] | None = None) -> pa.Table:
    """Return the rows of a parquet file, with every page compared with its checksum.

    Raises:
        InputError: when it is not a readable parquet file.
    """
    try:
        return pq.read_table(pa.BufferReader(content), columns=columns, page_checksum_verification=True)
    except Exception as error:  # damaged metadata raises nearly any type
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{place} cannot be read: {reason}", "Prepare the set again") from None


def content_fingerprint(manifest: Manifest) -> str:
    """Return the fingerprint of the set, recomputed from all its rows and its tokenizer.

    Raises:
        InputError: when a file is missing or unreadable, or lacks a column.
    """
    rows = {}
    for part in manifest.splits:
        place = manifest.split_place(part)
        table = parse_rows(place, place.read_bytes())
        if table.column_names != REF_SCHEMA.names:
            raise InputError(f"{place} has other columns than a prepared split", _AGAIN)
        rows[part] = rows_digest(table)
    tokenizer = file_fingerprint((manifest.place / TOKENIZER).read_bytes())
    return set_fingerprint(manifest.family, rows, tokenizer, version=PREPARED_VERSION)


def is_intact(manifest: Manifest) -> bool:
    """Return whether all files of the set are as they were written, so that preparing again has nothing to do."""
    if not manifest.has_digests:
        return False
    try:
        tables = [parse_rows(manifest.split_place(part), read_verified(manifest, part)) for part in manifest.splits]
        _ = manifest.tokenizer_path
        return not manifest.embedded or all(_embedded_intact(manifest, table) for table in tables)
    except InputError:
        return False


def _embedded_intact(manifest: Manifest, table: pa.Table) -> bool:
    images = EmbeddedImages(manifest.place / EMBEDDED)
    digests = dict(zip(table["file_name"].to_pylist(), table["image_digest"].to_pylist(), strict=True))
    return all(content_digest(images.content(name)) == digest for name, digest in digests.items())


def _stamps(manifest: Manifest) -> tuple[str, ...]:
    """Return what changes with the files of a set: a fingerprint is recomputed once for each state of them."""
    places = [*(manifest.split_place(part) for part in manifest.splits), manifest.place / TOKENIZER]
    return tuple(place.stamp() for place in places)


@functools.lru_cache(maxsize=64)
def _require_fingerprint(prepared_root: str, set_name: str, stamps: tuple[str, ...]) -> None:
    """Refuse a set of version 0.1 whose rows do not make the fingerprint of its manifest."""
    manifest = load_manifest(prepared_root, set_name)
    _LOGGER.warning(
        "%s has no digests of its files (it was prepared by version 0.1): all its rows are read to verify it; "
        "prepare it again to avoid this",
        manifest.place,
    )
    got = content_fingerprint(manifest)
    if got != manifest.fingerprint:
        raise InputError(
            f"{manifest.place} was changed after it was prepared: its rows and tokenizer make the fingerprint {got}, "
            f"the manifest has {manifest.fingerprint}",
            "Prepare the set again",
        )
