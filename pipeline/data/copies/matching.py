"""Which published refs a record of a copy may be, by image, ids and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.data.copies.index import Entry, ReferenceIndex, loose_hash, text_hash
from pipeline.data.copies.records import CopyRecord

_SAME_REF, _SAME_ANNOTATION = 0.6, 0.3
_LEAST_SCORE = 0.25
"""One sentence of four, or the id of the annotation, is enough to be a candidate."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A record, or all one-sentence records of a ref, with its candidates.

    Attributes:
        order: of its first record in the copy.
        exact: hash of each sentence; `loose` without case and punctuation.
        candidates: published refs that fit equally well.
        is_ref: whether it stands for a whole ref.
    """

    record: CopyRecord
    order: int
    exact: tuple[int, ...]
    loose: tuple[int, ...]
    candidates: tuple[Entry, ...]
    is_ref: bool


def matched_items(records: Iterable[CopyRecord], index: ReferenceIndex) -> list[Item]:
    """Return the items of a copy, each with the published refs that it may be."""
    return [_item(record, order, index) for order, record in enumerate(_merged(records))]


def _merged(records: Iterable[CopyRecord]) -> list[CopyRecord]:
    """Return records with the one-sentence rows of one ref as one record; needs their ref id."""
    kept: list[CopyRecord] = []
    rows: dict[tuple[str, int, int | None], int] = {}
    for record in records:
        key = (record.split, record.ref_id or 0, record.image_id)
        if record.is_ref or record.ref_id is None:
            kept.append(record)
        elif key in rows:
            first = kept[rows[key]]
            kept[rows[key]] = CopyRecord(
                where=first.where,
                split=first.split,
                sentences=first.sentences + record.sentences,
                is_ref=True,
                ref_id=first.ref_id,
                ann_id=first.ann_id,
                image_id=first.image_id,
                stated_image_id=first.stated_image_id,
                trouble=first.trouble + record.trouble,
            )
        else:
            rows[key] = len(kept)
            kept.append(record)
    return kept


def _item(record: CopyRecord, order: int, index: ReferenceIndex) -> Item:
    exact = tuple(text_hash(text) for text in record.sentences)
    loose = tuple(loose_hash(text) for text in record.sentences)
    pool = index.by_image.get(record.image_id, []) if record.image_id is not None else []
    candidates = _best(record, exact, loose, pool)
    if not candidates and record.ref_id is not None:
        # By its ref id alone: the sentences then have to agree, since every set counts its refs from 0.
        pool = [entry for entry in index.by_ref.get(record.ref_id, []) if set(entry.loose) & set(loose)]
        candidates = _best(record, exact, loose, pool)
    if not candidates and record.image_id is None and loose:
        candidates = _best(record, exact, loose, index.by_sentence.get(loose[0], []))
    return Item(
        record=record,
        order=order,
        exact=exact,
        loose=loose,
        candidates=candidates,
        is_ref=record.is_ref or record.ref_id is not None,
    )


def _best(
    record: CopyRecord, exact: tuple[int, ...], loose: tuple[int, ...], pool: Iterable[Entry]
) -> tuple[Entry, ...]:
    scored = [(_score(record, exact, loose, entry), entry) for entry in pool]
    best = max((score for score, _ in scored), default=0.0)
    if best < _LEAST_SCORE:
        return ()
    return tuple(entry for score, entry in scored if score >= best - _ROUNDING)


def _common(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int:
    """Return how many sentences two refs share; refs of one image mostly share none."""
    if ours == theirs:
        return len(ours)
    if not any(value in theirs for value in ours):
        return 0
    return sum((Counter(ours) & Counter(theirs)).values())


def _score(record: CopyRecord, exact: tuple[int, ...], loose: tuple[int, ...], entry: Entry) -> float:
    """Return how well a record fits: a full set of sentences weighs more than a ref id, a ref id more than one of them.

    A copy that numbers its refs anew is thus found by its sentences, and one with changed sentences by its ids.
    """
    score = 0.0
    if loose:
        longest = max(len(loose), len(entry.loose)) if record.is_ref else len(loose)
        # A copy may hold the text before cleaning, which differs in more than case and signs.
        score += max(_common(loose, entry.loose), _common(exact, entry.raw)) / longest
        score += 0.01 * _common(exact, entry.sentences) / len(exact)
    if record.ref_id is not None and record.ref_id == entry.ref_id:
        score += _SAME_REF
    if record.ann_id is not None and record.ann_id == entry.ann_id:
        score += _SAME_ANNOTATION
    return score
