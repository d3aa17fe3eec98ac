"""One predicted mask as a file holds it: which sentence it answers, and its mask before anything is checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.data.readers.field_values import shown, whole_number


@dataclass(frozen=True, slots=True)
class SentenceKey:
    """Which expression is meant: by its `sent_id`, or by its ref and either its number there or its text.

    Attributes:
        sent_id: REFER's id of the sentence.
        ref_id: REFER's id of the ref.
        number: of the sentence in its ref, from 0.
        words: the sentence with its spaces as underscores, as CRIS names its files.
    """

    sent_id: int | None = None
    ref_id: int | None = None
    number: int | None = None
    words: str | None = None

    def __str__(self) -> str:
        if self.sent_id is not None:
            return f"sent_id {self.sent_id}"
        where = f"sentence {self.number}" if self.words is None else shown(self.words)
        return f"ref_id {self.ref_id} {where}"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One mask of a file, unchecked.

    Attributes:
        where: file and line or entry, for messages.
        key: None where the entry names no sentence; `problem` then says what is wrong.
        mask: RLE dictionary, list of them or polygons; compressed counts as bytes; or mask_HW, bool.
        problem: why the entry cannot be used; empty where it can.
    """

    where: str
    key: SentenceKey | None
    mask: Any = None
    problem: str = ""


def key_of_fields(entry: dict[str, Any]) -> SentenceKey:
    """Return the key of an entry with `sent_id`, or with `ref_id` and `sentence_index`.

    Raises:
        ValueError: when it has neither, or a value is not a whole number.
    """
    if entry.get("sent_id") is not None:
        return SentenceKey(whole_number(entry["sent_id"], "sent_id"))
    if entry.get("ref_id") is None or entry.get("sentence_index") is None:
        raise ValueError("it has no sent_id, and no ref_id with sentence_index")
    ref_id, number = (whole_number(entry[name], name) for name in ("ref_id", "sentence_index"))
    return SentenceKey(ref_id=ref_id, number=number)


def prediction_of_fields(entry: Any, where: str) -> Prediction:
    """Return the prediction of one JSON object: the fields of its key, and `segmentation`."""
    if not isinstance(entry, dict):
        return Prediction(where, None, problem=f"it is {type(entry).__name__}, not an object")
    try:
        key = key_of_fields(entry)
    except ValueError as error:
        return Prediction(where, None, problem=str(error))
    if "segmentation" not in entry:
        return Prediction(where, key, problem="it has no segmentation")
    return Prediction(where, key, entry["segmentation"])
