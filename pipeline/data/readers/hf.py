"""Read parquet data sets in the layout of Hugging Face's `datasets`: a ref per row, images embedded or in a folder.

Known are the columns of `sharedris data export --format hf`, of jxu124's copies (`raw_anns` and `raw_image_info` as
JSON text, images elsewhere), of lmms-lab's (`answer`, one flat polygon in `segmentation`) and of moondream's refcoco-m
(an image per row, its refs in `samples`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.data.catalog import SETS, check_set_name, check_split_name, may_lack_target
from pipeline.data.masks import MaskError, mask_area
from pipeline.data.readers.annotations import (
    ImageInfo,
    Problem,
    Source,
    SourceRef,
    TemporaryImages,
    check_file_name,
    clean_expression,
)
from pipeline.data.readers.field_values import finite_numbers, shown, whole_number
from pipeline.data.readers.image_names import name_on_disk
from pipeline.data.readers.images import content_digest, read_image_file
from pipeline.data.readers.mask_forms import encode_any_form, outline_box
from pipeline.data.readers.parquet_rows import parquet_columns, parquet_rows
from pipeline.data.readers.split_names import split_name, split_of_file
from pipeline.files import write_file
from sharedris.errors import InputError
from sharedris.pixels import MAX_FILE_BYTES, ImageError, image_size
from sharedris.regular_file import UnreadableFileError

SENTENCE_FIELDS = ("sentences", "captions", "answer", "expressions", "sentence", "expression")
_READ = {
    *SENTENCE_FIELDS,
    *("image", "file_name", "image_path", "split", "ref_id", "ann_id", "image_id", "id", "category_id", "sent_ids"),
    *("height", "width", "bbox", "mask", "segmentation", "raw_anns", "raw_image_info", "samples"),
}
_COCO_NAME_OF_A_REF = re.compile(r"((?:.*/)?COCO_(?:train|val)2014_\d{12})_\d+(\.\w+)")
_TWELVE_DIGITS = re.compile(r"(?<!\d)(\d{12})(?!\d)")


def read_hf(path: Path, set_name: str, *, images: Path | None = None, need_images: bool = True) -> Source:
    """Read a parquet file, or all of a folder; problems of single rows are listed in the result, not raised.

    Embedded images are unpacked into a temporary folder, which is removed with the result.

    Args:
        path: a parquet file, or a folder with some.
        set_name: a known set, whose splits are then required, or any other name.
        images: folder of the images of rows without embedded ones.
        need_images: false leaves embedded images where they are.

    Raises:
        InputError: when a file cannot be read, or has none of the known columns.
    """
    path = Path(path)
    check_set_name(set_name)
    files = sorted(entry for entry in path.rglob("*.parquet") if not entry.is_dir()) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no parquet file", "Give the folder of a parquet data set")
    known = {file: set(parquet_columns(file)) for file in files}
    if lost := [file for file in files if not known[file] & {*SENTENCE_FIELDS, "samples"}]:
        columns = ", ".join(sorted(known[lost[0]]))[:200]
        raise InputError(f"{lost[0]} has the columns {columns}", f"One of them has to be {', '.join(SENTENCE_FIELDS)}")
    source = Source(
        set_name=set_name,
        family=SETS[set_name].family if set_name in SETS else set_name,
        image_root=(Path(images) if images else path if path.is_dir() else path.parent).absolute(),
        files=tuple(files),
        check_command=f"sharedris data check {set_name} --annotations {path} --reader hf",
    )
    if need_images and any("image" in columns for columns in known.values()):
        source.temporary_images = TemporaryImages()
        source.image_root = source.temporary_images.folder
    reader = _Reader(source)
    for file in files:
        for number, row in parquet_rows(file, lambda leaf: leaf.split(".", maxsplit=1)[0] in _READ, batch_rows=16):
            for position, fields in enumerate(_refs_of(row)):
                reader.add(fields, f"{file.name} row {number}" + (f"[{position}]" if "samples" in row else ""), file)
    return source


def _refs_of(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the fields of each ref of a row; in refcoco-m a row is an image and `id` an annotation."""
    given = {name: value for name, value in row.items() if value is not None}
    samples = given.pop("samples", None)
    if samples is None:
        yield given
        return
    for sample in samples:
        if isinstance(sample, dict):
            fields = {name: value for name, value in sample.items() if value is not None}
            yield {**given, **fields, **({"ann_id": fields["id"]} if "id" in fields else {})}


class _RowError(ValueError):
    """A row that is not a ref; problems are counted by their kind."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class _Reader:
    """Turns rows into refs, and unpacks each image once."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.infos: dict[str, ImageInfo] = {}
        self.digests: dict[str, str] = {}
        self.ref_ids: set[int] = set()
        self.sentences = 0

    def add(self, row: dict[str, Any], where: str, file: Path) -> None:
        try:
            self.source.refs.append(self._ref(row, where, file))
        except _RowError as error:
            self.source.problems.append(Problem(kind=error.kind, where=where, message=str(error)))
        except ValueError as error:  # a value of a wrong type or range
            self.source.problems.append(Problem(kind="malformed ref", where=where, message=str(error)))

    def _ref(self, row: dict[str, Any], where: str, file: Path) -> SourceRef:
        split = split_name(row.get("split")) or split_of_file(file.name)
        try:
            check_split_name(self.source.set_name, split)
        except InputError as error:
            raise _RowError("malformed ref", error.message) from None
        ref_id = whole_number(row.get("ref_id", len(self.ref_ids)), "ref_id")
        if ref_id in self.ref_ids:
            raise _RowError("duplicate ref_id", f"ref_id {ref_id} again")
        sent_ids, expressions = self._expressions(row)
        info = self._image(row, where)
        self.ref_ids.add(ref_id)
        mask, outline = _mask(row, info, where, self.source)
        is_empty = may_lack_target(self.source.set_name) and not mask_area(mask, height=info.height, width=info.width)
        return SourceRef(
            ref_id=ref_id,
            image=info,
            ann_id=whole_number(row.get("ann_id", ref_id), "ann_id"),
            category_id=whole_number(row.get("category_id", 0), "category_id"),
            split=split,
            sent_ids=sent_ids,
            expressions=expressions,
            mask_rle=mask,
            box=_box(row),
            outline=outline,
            objects=0 if is_empty else 1,
        )

    def _expressions(self, row: dict[str, Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
        value = next((row[name] for name in SENTENCE_FIELDS if row.get(name)), None)
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not listed:
            raise _RowError("no words", "has no sentences")
        texts = [entry.get("sent", entry.get("raw")) if isinstance(entry, dict) else entry for entry in listed]
        expressions = tuple(clean_expression(text) for text in texts)
        if not all(expressions):
            raise _RowError("no words", "a sentence has no words")
        given = row.get("sent_ids") or [entry.get("sent_id") for entry in listed if isinstance(entry, dict)]
        if isinstance(given, list) and len(given) == len(expressions) and None not in given:
            return tuple(whole_number(name, "sent_ids") for name in given), expressions
        self.sentences += len(expressions)
        return tuple(range(self.sentences - len(expressions), self.sentences)), expressions

    def _image(self, row: dict[str, Any], where: str) -> ImageInfo:
        embedded = row.get("image")
        content = embedded.get("bytes") if isinstance(embedded, dict) else embedded
        inner = embedded.get("path") if isinstance(embedded, dict) else None
        named = row.get("file_name") or inner or row.get("image_path")
        name = check_file_name(named) if named else f"{where.replace(' ', '-')}.image"
        if match := _COCO_NAME_OF_A_REF.fullmatch(name):
            name = match[1] + match[2]  # REFER's file names are of refs: COCO_train2014_000000580957_4.jpg
        if isinstance(content, bytes):
            self._unpack(name, content)
        elif name not in self.infos:
            name = next((n for n in (name, PurePosixPath(name).name) if self._on_disk(n)), name)
            name = name_on_disk(self.source.image_root, name)
        if name not in self.infos:
            height, width = self._size(row, name, content)
            self.infos[name] = ImageInfo(image_id=self._image_id(row, name), file_name=name, height=height, width=width)
        elif "image_id" in row and (other := self.infos[name].image_id) != self._image_id(row, name):
            raise _RowError("malformed ref", f"image_id is {shown(row['image_id'])}, {name} had {other} before")
        return self.infos[name]

    def _on_disk(self, name: str) -> bool:
        root = self.source.image_root
        return (root / name_on_disk(root, name)).exists()

    def _unpack(self, name: str, content: bytes) -> None:
        """Write an image into the temporary folder; the same name with other bytes is an error."""
        if len(content) > MAX_FILE_BYTES:
            raise _RowError("undecodable image", f"{name} has {len(content)} bytes, at most {MAX_FILE_BYTES} are read")
        digest = content_digest(content)
        if self.digests.setdefault(name, digest) != digest:
            raise _RowError("changed image", f"{name} has other bytes than in an earlier row")
        path = self.source.image_root / name
        if self.source.temporary_images is not None and name not in self.infos:
            try:
                write_file(path, content)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise _RowError("unreadable image", f"{name} is the name of a file and of a folder") from None

    def _size(self, row: dict[str, Any], name: str, content: Any) -> tuple[int, int]:
        info = _from_json(row, "raw_image_info")
        height, width = row.get("height", info.get("height")), row.get("width", info.get("width"))
        if height is not None and width is not None:
            return whole_number(height, "height"), whole_number(width, "width")
        try:
            if not isinstance(content, bytes):
                content = read_image_file(self.source.image_root, name)
            return image_size(content, name=name)
        except UnreadableFileError as error:
            kind = "missing image" if error.missing else "unreadable image"
            raise _RowError(kind, error.message) from None
        except ImageError as error:
            raise _RowError("undecodable image", error.message) from None

    def _image_id(self, row: dict[str, Any], name: str) -> int:
        if "image_id" in row:
            return whole_number(row["image_id"], "image_id")
        digits = _TWELVE_DIGITS.findall(name)
        return int(digits[-1]) if digits else len(self.infos)


def _mask(row: dict[str, Any], info: ImageInfo, where: str, source: Source) -> tuple[bytes, Any]:
    value = row.get("mask", row.get("segmentation", _from_json(row, "raw_anns").get("segmentation")))
    try:
        if isinstance(value, str):
            value = json.loads(value)
        counts = encode_any_form(value, height=info.height, width=info.width, where=where, skipped=source.skipped)
        return counts, outline_box(value)
    except MaskError as error:
        raise _RowError("no mask" if "empty" in str(error) else "malformed mask", str(error)) from None
    except (ValueError, RecursionError):
        raise _RowError("malformed mask", f"the mask is {shown(value)}") from None


def _from_json(row: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object that a copy holds as JSON text; empty where it has none."""
    text = row.get(name)
    if not isinstance(text, str):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise _RowError("malformed ref", f"{name} is not JSON") from None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else {}


def _box(row: dict[str, Any]) -> tuple[float, float, float, float] | None:
    if not row.get("bbox"):
        return None
    x, y, width, height = finite_numbers(row["bbox"], "bbox", count=4)
    return x, y, width, height
