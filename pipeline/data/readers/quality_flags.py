"""Read which expressions reviewers found wrong: Ref-L4's reviewed annotations, or a list of one's own.

Ref-L4 (JierunChen/Ref-L4) publishes `refcoco_val_reviewed.json` and seven like it. Its card states one field: each
instance of the list `annotation` has `caption_quality`, which is 0 where the expression is wrong. An instance is joined
by what it has of `sent_id`, of `ref_id`, or of its image (`image_id`, or an entry of `images`) and its sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.readers.field_values import shown, whole_number
from pipeline.data.readers.json_stream import iterate_records, unique_keys
from sharedris.errors import InputError
from sharedris.regular_file import read_regular

_MOST_BYTES = 1 << 30
_LISTS = ("", "annotation", "annotations")
_SENTENCE_FIELDS = ("caption", "sentence", "sent", "expression", "raw", "text")
_TWELVE_DIGITS = re.compile(r"(?<!\d)(\d{12})(?!\d)")

SentenceKey = tuple[int, str]
"""COCO's image id, and a sentence without case, spaces and punctuation."""


@dataclass(frozen=True, kw_only=True)
class QualityFlags:
    """Whether each reviewed expression is flagged, by the ids that the files have.

    Attributes:
        name: of the files, for captions.
        by_sentence: a sentence that occurs twice in an image is flagged if one of them is.
    """

    name: str
    by_sent_id: Mapping[int, bool]
    by_ref_id: Mapping[int, bool]
    by_sentence: Mapping[SentenceKey, bool]

    def of_samples(
        self, sent_ids: Sequence[int], ref_ids: Sequence[int], image_ids: Sequence[int], expressions: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return, per sample [N], whether it was reviewed, and whether it is flagged."""
        found = [self._of(*ids) for ids in zip(sent_ids, ref_ids, image_ids, expressions, strict=True)]
        return np.array([flag is not None for flag in found], dtype=bool), np.array(
            [bool(flag) for flag in found], dtype=bool
        )

    def _of(self, sent_id: int, ref_id: int, image_id: int, expression: str) -> bool | None:
        if (flag := self.by_sent_id.get(int(sent_id))) is not None:
            return flag
        if (flag := self.by_sentence.get((int(image_id), _plain(expression)))) is not None:
            return flag
        return self.by_ref_id.get(int(ref_id))


def read_flags(paths: Sequence[Path]) -> QualityFlags:
    """Return the flags of several files.

    Raises:
        InputError: when a file cannot be read, or holds an entry without a flag or without an id.
    """
    by_sent_id: dict[int, bool] = {}
    by_ref_id: dict[int, bool] = {}
    by_sentence: dict[SentenceKey, bool] = {}
    for path in paths:
        count = 0
        for where, entry, image in _entries(Path(path)):
            count += 1
            try:
                _add(entry, image, by_sent_id, by_ref_id, by_sentence)
            except ValueError as error:
                raise InputError(f"{path} {where}: {error}", "docs/data.md has the fields of a flags file") from None
        if not count:
            raise InputError(
                f"{path} has no entry with caption_quality or flagged", "docs/data.md has the fields of a flags file"
            )
    return QualityFlags(
        name=", ".join(Path(path).name for path in paths),
        by_sent_id=by_sent_id,
        by_ref_id=by_ref_id,
        by_sentence=by_sentence,
    )


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield place, entry and its image's entry; images may follow the annotations, so that all are read first."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from ((where, entry, {}) for where, entry in _lines(path))
        return
    images: dict[Any, dict[str, Any]] = {}
    entries: list[tuple[str, dict[str, Any]]] = []
    kept = {"caption_quality", "flagged", "sent_id", "ref_id", "image_id", "file_name", "original_id", "id"}
    for key, element in iterate_records(path):
        if not isinstance(element, dict):
            continue
        fields = {name: element[name] for name in (*kept, *_SENTENCE_FIELDS) if element.get(name) is not None}
        if key == "images" and isinstance(fields.get("id"), int | str):
            images[fields["id"]] = fields
        elif key in _LISTS:
            entries.append((f"{key or 'list'}[{len(entries)}]", fields))
    for where, entry in entries:
        image_id = entry.get("image_id")
        yield where, entry, images.get(image_id, {}) if isinstance(image_id, int | str) else {}


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = read_regular(path, most_bytes=_MOST_BYTES).decode("utf-8-sig")
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                entry = json.loads(line, object_pairs_hook=unique_keys)
                if not isinstance(entry, dict):
                    raise ValueError(f"line {number} is not a JSON object")
                yield f"line {number}", entry
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not readable JSON Lines: {error}", "Write one JSON object per line") from None


def _add(
    entry: dict[str, Any],
    image: dict[str, Any],
    by_sent_id: dict[int, bool],
    by_ref_id: dict[int, bool],
    by_sentence: dict[SentenceKey, bool],
) -> None:
    flag = _flag(entry)
    sentence = next((source[name] for source in (entry, image) for name in _SENTENCE_FIELDS if name in source), None)
    image_id = _image_id(entry, image)
    if "sent_id" in entry:
        _keep(by_sent_id, whole_number(entry["sent_id"], "sent_id"), flag)
    elif isinstance(sentence, str) and image_id is not None:
        _keep(by_sentence, (image_id, _plain(sentence)), flag)
    elif "ref_id" in entry:
        _keep(by_ref_id, whole_number(entry["ref_id"], "ref_id"), flag)
    else:
        raise ValueError("has no sent_id, no ref_id, and not both an image and a sentence")


def _keep(flags: dict[Any, bool], key: Any, flag: bool) -> None:
    flags[key] = flags.get(key, False) or flag


def _flag(entry: dict[str, Any]) -> bool:
    if isinstance(entry.get("flagged"), bool):
        return bool(entry["flagged"])
    quality = entry.get("caption_quality")
    if isinstance(quality, bool) or not isinstance(quality, int | float) or quality not in (0, 1):
        raise ValueError(f"caption_quality is {shown(quality)}, not 0 or 1")
    return quality == 0


def _image_id(entry: dict[str, Any], image: dict[str, Any]) -> int | None:
    """Return COCO's id: files that hold a sentence per image number their images anew."""
    for source in (image, entry):
        if "original_id" in source:
            return whole_number(source["original_id"], "original_id")
        if digits := _TWELVE_DIGITS.findall(str(source.get("file_name", ""))[:1000]):
            return int(digits[-1])
    return whole_number(entry["image_id"], "image_id") if "image_id" in entry else None


def _plain(sentence: str) -> str:
    return "".join(letter for letter in sentence.casefold() if letter.isalnum())
