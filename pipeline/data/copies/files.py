"""Read every file of a copy: REFER pickles, parquet, JSON, JSON Lines, TSV and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.data.copies.records import FIELDS, CopyRecord, records_of_row
from pipeline.data.readers.json_stream import iterate_records, unique_keys
from pipeline.data.readers.parquet_rows import parquet_columns, parquet_rows
from pipeline.data.readers.safe_pickle import load_plain_pickle
from pipeline.data.readers.split_names import group_of_file, split_of_file
from sharedris.errors import InputError
from sharedris.regular_file import read_regular

_MOST_BYTES = 1 << 30
_LEAST_KNOWN_FIELDS = 2
_MOST_FILES = 10_000
_TEXT_LEAVES = ("image.path", "sentences.sent", "sentences.raw", "samples.sentences", "ref_list.ref_info")
_NO_COPIES = re.compile(r"(instances|captions|person_keypoints)(_(train|val)20\d\d)?|dataset(_infos?)?|config", re.I)
"""Names of files that lie beside a copy: COCO's own annotations, and descriptions."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The records of the files that belong together: the splits and shards of one copy.

    Attributes:
        name: the files without split and shard, below the folder that was given.
        form: the kind of file, `parquet`.
        notes: files that were left out, and why.
    """

    name: str
    form: str
    files: tuple[str, ...]
    records: tuple[CopyRecord, ...]
    notes: tuple[str, ...] = field(default=())


def read_copies(path: Path) -> list[Copy]:
    """Return the copies in a file or folder.

    Raises:
        InputError: when nothing there is a copy of a referring set, or a file is damaged.
    """
    path = Path(path)
    files = _files_of(path)
    found: dict[str, list[tuple[Path, list[CopyRecord]]]] = {}
    notes: list[str] = []
    for file in files:
        name = file.name if file == path else file.relative_to(path).as_posix()
        try:
            records = list(_records(file, name))
        except _NotACopyError as error:
            if file == path:
                raise InputError(f"{path} {error}", f"Known fields: {', '.join(FIELDS)}") from None
            notes.append(f"{name}: left out, it {error}")
            continue
        found.setdefault(group_of_file(name), []).append((file, records))
    if not found:
        reason = f" ({notes[0]})" if notes else ""
        raise InputError(
            f"{path} holds no copy of a referring set{reason}", "Give a folder of parquet, JSON or .p files"
        )
    return [
        Copy(
            name=name,
            form=_form(parts[0][0]),
            files=tuple(str(file) for file, _ in parts),
            records=tuple(record for _, records in parts for record in records),
            notes=tuple(notes),
        )
        for name, parts in sorted(found.items())
    ]


class _NotACopyError(Exception):
    """A file that can be read and holds something else."""


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = [
        entry
        for entry in sorted(path.rglob("*"))
        if entry.suffix.lower() in _READERS
        and not _NO_COPIES.fullmatch(entry.stem)
        and not any(part.startswith(".") for part in entry.relative_to(path).parts)
        and not entry.is_dir()
    ]
    if len(files) > _MOST_FILES:
        raise InputError(f"{path} holds {len(files)} files", f"Give a folder of at most {_MOST_FILES}")
    return files


def _form(path: Path) -> str:
    return {".p": "REFER pickle", ".pkl": "REFER pickle"}.get(path.suffix.lower(), path.suffix.lower()[1:])


def _records(path: Path, name: str) -> Iterator[CopyRecord]:
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputError(f"{path} is of no known kind", f"Known: {', '.join(sorted(_READERS))}")
    split = split_of_file(name)
    is_empty = True
    for place, row in read(path):
        key, _, number = place.rpartition(":")
        for record in records_of_row(row, where=f"{name} {number}", split=split_of_file(key) or split):
            is_empty = False
            yield record
    if is_empty:
        raise _NotACopyError("has no rows with ids or sentences")


def _pickle_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    value = load_plain_pickle(path)
    if not isinstance(value, list | tuple) or not all(isinstance(ref, dict) for ref in value):
        raise _NotACopyError("does not hold a list of refs")
    yield from ((f":[{position}]", ref) for position, ref in enumerate(value))


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    columns = parquet_columns(path)
    known = [name for name in columns if name in FIELDS]
    if len(known) < _LEAST_KNOWN_FIELDS:
        raise _NotACopyError(f"has the columns {', '.join(columns)[:200]}")
    for number, row in parquet_rows(path, lambda leaf: _is_read(leaf, known), batch_rows=1024):
        yield f":row {number}", row


def _is_read(leaf: str, known: list[str]) -> bool:
    """Return whether a leaf column holds ids or sentences; pixels and tokens are never read."""
    top = leaf.split(".", maxsplit=1)[0]
    if "." not in leaf:
        return top in known
    if top == "samples":
        return leaf in ("samples.sentences", "samples.image_id")
    if top == "ref_list":
        return leaf.startswith("ref_list.ref_info.") and not leaf.endswith("tokens")
    return leaf in _TEXT_LEAVES


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    counts: dict[str, int] = {}
    for key, row in iterate_records(path):
        number = counts[key] = counts.get(key, -1) + 1
        if isinstance(row, dict) and _is_row(row, key):
            yield f"{key}:{key}[{number}]", row


def _is_row(row: dict[str, Any], key: str) -> bool:
    """Return whether an entry is a ref; one of COCO's `images` is, where it has a caption (MDETR's files)."""
    names = set(row) & set(FIELDS)
    if key == "annotations":
        return bool(names & {"sentences", "sent", "sentence", "caption", "expression"})
    return len(names) >= _LEAST_KNOWN_FIELDS and (key != "images" or "caption" in names)


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} line {number} is not JSON: {error}", "Write one JSON object per line") from None
        if isinstance(row, dict):
            yield f":line {number}", row


def _table_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(1 << 26)  # polygons are longer than the default of 128 KiB allows
    text = _text(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" or "\t" in text.partition("\n")[0] else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        known = [name for name in reader.fieldnames or () if name in FIELDS]
        if len(known) < _LEAST_KNOWN_FIELDS:
            raise _NotACopyError(f"has the columns {', '.join(reader.fieldnames or ())[:200]}")
        for row in reader:
            yield f":line {reader.line_num}", {name: _listed(row[name]) for name in known if row[name]}
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num} is not a table: {error}", "Quote its fields") from None


def _listed(text: str) -> Any:
    """Return the list that JSON wrote into a field, else the text."""
    if text[:1] == "[":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _text(path: Path) -> str:
    try:
        return read_regular(path, most_bytes=_MOST_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason}", "Save it as UTF-8") from None


_READERS = {
    ".p": _pickle_rows,
    ".pkl": _pickle_rows,
    ".parquet": _parquet_rows,
    ".json": _json_rows,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".tsv": _table_rows,
    ".csv": _table_rows,
}
