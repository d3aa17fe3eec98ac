"""One row of a copy of a published set, read from the fields that public conversions use.

Known are REFER's refs, the parquet copies of lmms-lab (question_id, answer, segmentation, bbox, file_name) and of
jxu124 (ref_id, ann_id, image_id, split, sentences, captions), refcoco-m (samples), and JSON, JSON Lines, TSV and CSV
files with a part of these fields.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.data.readers.field_values import joined_surrogates, shown, whole_number
from pipeline.data.readers.split_names import split_name

SENTENCE_FIELDS = (
    "sentences",
    "captions",
    "answer",
    "expressions",
    "sents",
    "sent",
    "sentence",
    "expression",
    "caption",
    "text",
    "query",
    "phrase",
)
IMAGE_ID_FIELDS = ("image_id", "original_id", "img_id")
IMAGE_NAME_FIELDS = ("file_name", "image_path", "img_path", "img_name", "image_name", "image")
ID_FIELDS = ("ref_id", "ann_id")
NESTED_FIELDS = ("ref_list", "samples")
"""Lists of refs inside one row: of refcoco-benchmark and of refcoco-m."""
SPLIT_FIELD = "split"
FIELDS = (*SENTENCE_FIELDS, *IMAGE_ID_FIELDS, *IMAGE_NAME_FIELDS, *ID_FIELDS, *NESTED_FIELDS, SPLIT_FIELD)
MAX_SENTENCE = 10_000
"""Letters; the longest sentence of the published sets has about 300."""

_TWELVE_DIGITS = re.compile(r"(?<!\d)(\d{12})(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRecord:
    """A ref, or one sentence of a ref, as a copy holds it; absent ids are None.

    Attributes:
        where: file and row.
        split: as the copy names it, brought into the catalog's spelling; empty where it has none.
        is_ref: whether the row lists all sentences of a ref, not one of them.
        image_id: by the file's name where it is one of COCO's, else as stated.
        stated_image_id: of the fields for it; a copy may number its images anew.
        trouble: what could not be read of it.
    """

    where: str
    split: str
    sentences: tuple[str, ...]
    is_ref: bool
    ref_id: int | None = None
    ann_id: int | None = None
    image_id: int | None = None
    stated_image_id: int | None = None
    trouble: tuple[str, ...] = field(default=())


def records_of_row(row: Mapping[str, Any], *, where: str, split: str) -> Iterator[CopyRecord]:
    """Yield the records of one row; none where it has neither sentences nor ids.

    Args:
        row: column -> value.
        where: file and row, for messages.
        split: of the file; a split in the row is used before it.
    """
    nested = next((row[name] for name in NESTED_FIELDS if isinstance(row.get(name), list)), None)
    if nested is None:
        record = _record(row, where=where, split=split)
        if record.sentences or record.ref_id is not None or record.trouble:
            yield record
        return
    outer = {name: value for name, value in row.items() if name not in NESTED_FIELDS}
    for position, inner in enumerate(nested):
        if isinstance(inner, Mapping):
            own = inner.get("ref_info")
            fields = own if isinstance(own, Mapping) else inner
            yield _record({**outer, **fields}, where=f"{where}[{position}]", split=split)


def _record(row: Mapping[str, Any], *, where: str, split: str) -> CopyRecord:
    trouble: list[str] = []
    named, stated = _image_in_name(row), _stated_image_id(row)
    name = next((name for name in SENTENCE_FIELDS if _has_value(row.get(name))), None)
    value = row.get(name) if name else None
    return CopyRecord(
        where=where,
        split=split_name(row.get(SPLIT_FIELD)) or split,
        sentences=tuple(_sentences(value, trouble)),
        is_ref=isinstance(value, list | tuple),
        ref_id=_id(row, "ref_id", trouble),
        ann_id=_id(row, "ann_id", trouble),
        image_id=named if named is not None else stated,
        stated_image_id=stated,
        trouble=tuple(trouble),
    )


def _has_value(value: Any) -> bool:
    return isinstance(value, str | list | tuple) and bool(value)


def _sentences(value: Any, trouble: list[str]) -> Iterator[str]:
    for entry in value if isinstance(value, list | tuple) else [value] if value is not None else []:
        text = entry.get("sent", entry.get("raw")) if isinstance(entry, Mapping) else entry
        if not isinstance(text, str):
            trouble.append(f"a sentence is {shown(text)}")
        elif len(text) > MAX_SENTENCE:
            trouble.append(f"a sentence has {len(text)} letters")
        else:
            try:
                yield " ".join(joined_surrogates(text, "a sentence").split())
            except ValueError as error:
                trouble.append(str(error))


def raw_sentences(sentences: Any) -> tuple[str, ...]:
    """Return the text before cleaning of each sentence of a REFER ref; empty where it has none."""
    if not isinstance(sentences, list | tuple):
        return ()
    texts = [entry.get("raw") if isinstance(entry, Mapping) else None for entry in sentences]
    return tuple(" ".join(text.split()) if isinstance(text, str) else "" for text in texts)


def _id(row: Mapping[str, Any], name: str, trouble: list[str]) -> int | None:
    if row.get(name) is None:
        return None
    try:
        return whole_number(row[name], name)
    except ValueError as error:
        trouble.append(str(error))
        return None


def _image_in_name(row: Mapping[str, Any]) -> int | None:
    """Return the image id in a file name of COCO (`COCO_train2014_000000580957_4.jpg`)."""
    for name in (*IMAGE_NAME_FIELDS, *IMAGE_ID_FIELDS):
        value = row.get(name)
        if isinstance(value, Mapping):
            value = value.get("path")
        if isinstance(value, str) and (digits := _TWELVE_DIGITS.findall(value[:1000])):
            return int(digits[-1])
    return None


def _stated_image_id(row: Mapping[str, Any]) -> int | None:
    for name in IMAGE_ID_FIELDS:
        with contextlib.suppress(ValueError):
            return whole_number(row.get(name), name)
    return None
