"""Read custom data: JSON Lines or CSV, a ref per line, with the mask as PNG, polygons or RLE (docs/data.md)."""

from __future__ import annotations

import ast
import csv
import io
import json
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.data.catalog import SETS, check_set_name, check_split_name
from pipeline.data.masks import MaskError, encode_mask
from pipeline.data.readers.annotations import ImageInfo, Problem, Source, SourceRef, check_file_name, clean_expression
from pipeline.data.readers.field_values import whole_number
from pipeline.data.readers.image_names import name_on_disk
from pipeline.data.readers.images import read_image_file
from pipeline.data.readers.json_stream import unique_keys
from pipeline.data.readers.mask_forms import encode_any_form, outline_box
from sharedris.errors import InputError
from sharedris.pixels import ImageError, decode_mask_image, image_size
from sharedris.regular_file import UnreadableFileError, read_regular

MASK_FIELDS = ("mask", "polygons", "rle")
FIELDS = ("image", "split", "expressions", "expression", "ref_id", "category_id", *MASK_FIELDS)
EXPRESSION_SEPARATOR = "|"
_MOST_BYTES = 1 << 30


def read_custom(path: Path, set_name: str, *, images: Path | None = None) -> Source:
    """Read a `.jsonl` or `.csv` file; problems of single lines are listed in the result, not raised.

    Args:
        path: the annotation file; image and mask names in it are relative to `images`.
        set_name: any name that is not a known set.
        images: folder of images and masks; the annotation file's own folder by default.

    Raises:
        InputError: when the file cannot be read at all.
    """
    path = Path(path)
    check_set_name(set_name)
    if set_name in SETS:
        raise InputError(f"{set_name!r} is the name of a known set", "Choose another name for your own data")
    root = (Path(images) if images else path.parent).absolute()
    if not root.is_dir():
        raise InputError(f"{root} is not a folder", "Give the folder of the images with --images")
    source = Source(
        set_name=set_name,
        family=set_name,
        image_root=root,
        files=(path,),
        check_command=f"sharedris data check {set_name} --annotations {path}",
    )
    reader = _Reader(root, set_name, source.skipped)
    for number, row in _rows(path):
        where = f"{path.name} line {number}"
        try:
            source.refs.append(reader.ref(row))
        except _RowError as error:
            source.problems.append(Problem(kind=error.kind, where=where, message=str(error)))
    return source


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = read_regular(path, most_bytes=_MOST_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason}", "Save it as UTF-8") from None
    if path.suffix.lower() == ".csv":
        yield from _csv_rows(path, text)
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _json_rows(path, text)
    else:
        raise InputError(f"{path} is neither .jsonl nor .csv", "Write one of the two; docs/data.md has examples")


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} line {number} is not JSON: {error}", "Write one JSON object per line") from None
        if not isinstance(row, dict):
            raise InputError(f"{path} line {number} is not a JSON object", "Write one JSON object per line")
        yield number, {name: value for name, value in row.items() if value is not None}


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(min(sys.maxsize, 1 << 26))  # polygons are longer than the default of 128 KiB allows
    delimiter = _delimiter(text)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter, skipinitialspace=True)
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        if twice := [name for name in FIELDS if list(reader.fieldnames).count(name) > 1]:
            raise InputError(f"{path} has the column {', '.join(twice)} twice", "Leave one of them out")
        for row in reader:
            if any(row.pop(None, ())):  # DictReader keeps what is too many under None
                raise InputError(f"{path} line {reader.line_num} has too many columns", "Quote fields that hold commas")
            if not any(value and value.strip() for value in row.values()):
                continue  # spreadsheets end a file with rows of commas
            yield (
                reader.line_num,
                {name: value for name, value in row.items() if value and value.strip() and not _is_index(name)},
            )
    except csv.Error as error:
        raise InputError(
            f"{path} line {reader.line_num} is not CSV: {error}", "Quote fields that hold commas"
        ) from None


def _delimiter(text: str) -> str:
    """Return the separator that gives the header the most known columns; a comma where none does."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def known(delimiter: str) -> int:
        return sum(name.strip().strip('"') in FIELDS for name in header.split(delimiter))

    return max((",", ";", "\t"), key=known)


def _is_index(name: str) -> bool:
    """Return whether pandas named the column for a frame's index, which holds no data."""
    return not name or name.startswith("Unnamed: ")


class _RowError(ValueError):
    """A line that is not a ref; problems are counted by their kind."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class _Reader:
    """Turns rows into refs; keeps the size of each image that was opened."""

    def __init__(self, root: Path, set_name: str, skipped: list[Problem]) -> None:
        self.root, self.set_name, self.skipped = root, set_name, skipped
        self.infos: dict[str, ImageInfo] = {}
        self.ref_ids: set[int] = set()
        self.next_ref_id = 0  # one above all so far
        self.sentences = 0

    def ref(self, row: dict[str, Any]) -> SourceRef:
        if unknown := sorted(set(row) - set(FIELDS)):
            raise _RowError("malformed line", f"unknown field(s) {', '.join(unknown)}; known are {', '.join(FIELDS)}")
        split = row.get("split")
        try:
            check_split_name(self.set_name, split if isinstance(split, str) else "")
        except InputError as error:
            raise _RowError("malformed line", error.message) from None
        info = self._image(row.get("image"))
        mask = self._mask(row, info)
        expressions = self._expressions(row)
        ref_id = self._ref_id(row)
        sent_ids = tuple(range(self.sentences, self.sentences + len(expressions)))
        self.sentences += len(expressions)
        return SourceRef(
            ref_id=ref_id,
            image=info,
            ann_id=ref_id,
            category_id=_number(row.get("category_id", 0), "category_id"),
            split=str(split),
            sent_ids=sent_ids,
            expressions=expressions,
            **mask,
        )

    def _ref_id(self, row: dict[str, Any]) -> int:
        ref_id = _number(row.get("ref_id", self.next_ref_id), "ref_id" if "ref_id" in row else "the next free ref_id")
        if ref_id in self.ref_ids:
            raise _RowError("duplicate ref_id", f"ref_id {ref_id} again")
        self.ref_ids.add(ref_id)
        self.next_ref_id = max(self.next_ref_id, ref_id + 1)
        return ref_id

    def _image(self, name: Any) -> ImageInfo:
        name = name_on_disk(self.root, _file_name(name, "image"))
        if name not in self.infos:
            size = _image_size(self.root, name)
            self.infos[name] = ImageInfo(image_id=len(self.infos), file_name=name, height=size[0], width=size[1])
        return self.infos[name]

    def _mask(self, row: dict[str, Any], info: ImageInfo) -> dict[str, Any]:
        given = [name for name in MASK_FIELDS if name in row]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise _RowError("no mask", f"needs one of {', '.join(MASK_FIELDS)}; found {found}")
        value = row[given[0]]
        if given[0] == "mask":
            name = name_on_disk(self.root, _file_name(value, "mask"))
            return {"mask_rle": _png_mask(self.root, name, info)}
        if isinstance(value, str):
            value = _from_json(value, given[0])
        listed = [value] if isinstance(value, dict) else value
        is_rle = isinstance(listed, list) and bool(listed) and all(isinstance(part, dict) for part in listed)
        if is_rle != (given[0] == "rle") or not isinstance(listed, list):
            raise _RowError("malformed mask", f"{given[0]} is {type(value).__name__}")
        try:
            counts = encode_any_form(
                value, height=info.height, width=info.width, where=info.file_name, skipped=self.skipped
            )
        except MaskError as error:
            raise _RowError("malformed mask", str(error)) from None
        return {"mask_rle": counts, "outline": outline_box(value)}

    def _expressions(self, row: dict[str, Any]) -> tuple[str, ...]:
        if ("expressions" in row) == ("expression" in row):
            raise _RowError("no words", "needs either expressions or expression")
        value = row.get("expressions", row.get("expression"))
        if isinstance(value, str):
            listed = _text_list(value)
            value = listed or (value.split(EXPRESSION_SEPARATOR) if "expressions" in row else [value])
        if not isinstance(value, list) or not value:
            raise _RowError("no words", "expressions is not a list of sentences")
        try:
            cleaned = tuple(clean_expression(text) for text in value)
        except ValueError as error:
            raise _RowError("malformed line", str(error)) from None
        if not all(cleaned):
            raise _RowError("no words", "an expression has no words")
        return cleaned


def _text_list(text: str) -> list[str] | None:
    """Return the sentences of a list that pandas or JSON wrote into a text; None where the text is a sentence.

    Raises:
        _RowError: for two strings without a comma between them (NumPy's form), which Python would join silently.
    """
    if not (text.strip().startswith("[") and text.strip().endswith("]")):
        return None
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        return None
    tokens = tokenize.generate_tokens(io.StringIO(text.strip()).readline)
    if sum(token.type == tokenize.STRING for token in tokens) != len(value):
        raise _RowError("no words", "expressions is a list without commas (NumPy's form); write it as a JSON list")
    return value


def _number(value: Any, name: str) -> int:
    try:
        return whole_number(value, name)
    except ValueError as error:
        raise _RowError("malformed line", str(error)) from None


def _from_json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _RowError("malformed mask", f"{name} is not JSON") from None


def _file_name(name: Any, field: str) -> str:
    try:
        return check_file_name(name)
    except ValueError as error:
        raise _RowError("malformed line", f"{field}: {error}") from None


def _read_file(root: Path, name: str, field: str) -> bytes:
    try:
        return read_image_file(root, name)
    except UnreadableFileError as error:
        kind = f"missing {field}" if error.missing else f"unreadable {field}"
        raise _RowError(kind, f"{root / name} does not exist" if error.missing else error.message) from None


def _image_size(root: Path, name: str) -> tuple[int, int]:
    """Return height and width of the upright image."""
    try:
        return image_size(_read_file(root, name, "image"), name=str(root / name))
    except ImageError as error:
        raise _RowError("undecodable image", error.message) from None


def _png_mask(root: Path, name: str, info: ImageInfo) -> bytes:
    content = _read_file(root, name, "mask")
    try:
        height, width = image_size(content, name=name)
        if (height, width) != (info.height, info.width):
            text = f"{name} is {height} x {width}, its image {info.height} x {info.width} pixels"
            raise _RowError("malformed mask", text)
        return encode_mask(decode_mask_image(content, name=name))
    except ImageError as error:
        raise _RowError("undecodable mask", error.message) from None
