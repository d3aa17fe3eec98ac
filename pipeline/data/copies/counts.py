"""Name the published splits whose sizes add up to that of a copy: a guess, which is printed as one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.data.catalog import SETS, Counts
from pipeline.data.copies.index import Part
from pipeline.data.copies.records import CopyRecord

MOST_PARTS = 2
MOST_GUESSES = 6


@dataclass(frozen=True, kw_only=True)
class SplitSize:
    """What can be counted in a split of a copy; images are None where the copy names none."""

    split: str
    rows: int
    refs: int | None
    sentences: int
    images: int | None


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Published splits whose sizes add up to a split of a copy.

    Attributes:
        unit: what was counted, `refs` or `sentences`.
        agrees: whether the split has the same name, and images the published number where both are known.
    """

    parts: tuple[Part, ...]
    unit: str
    count: int
    agrees: bool


def size_of(split: str, records: Sequence[CopyRecord]) -> SplitSize:
    """Return the size of a split of a copy."""
    images = {record.image_id for record in records}
    lists_refs = all(record.is_ref for record in records)
    ids = {(record.ref_id, record.image_id) for record in records}
    refs = len(records) if lists_refs else len(ids) if all(ref is not None for ref, _ in ids) else None
    return SplitSize(
        split=split,
        rows=len(records),
        refs=refs,
        sentences=sum(len(record.sentences) for record in records),
        images=None if None in images else len(images),
    )


def guesses(size: SplitSize, name: str) -> list[Guess]:
    """Return what the size of a split may be, the likeliest first.

    Args:
        size: of a split of the copy.
        name: of the copy's files; a guess that agrees with it comes first.
    """
    found: list[Guess] = []
    for parts in itertools.chain.from_iterable(
        itertools.combinations(_published(), number) for number in range(1, MOST_PARTS + 1)
    ):
        if len({SETS[part[0]].folder for part, _ in parts}) > 1:
            continue  # copies mix the partitions of one set, not sets
        for unit, count in (("refs", size.refs), ("sentences", size.sentences)):
            published = [counts.refs if unit == "refs" else counts.expressions for _, counts in parts]
            if count and None not in published and sum(number or 0 for number in published) == count:
                names = tuple(part for part, _ in parts)
                found.append(Guess(parts=names, unit=unit, count=count, agrees=_agrees(size, parts)))
                break
    return sorted(found, key=lambda guess: _rank(guess, size, name))[:MOST_GUESSES]


def _published() -> Iterator[tuple[Part, Counts]]:
    for spec in SETS.values():
        for split, counts in spec.published.items():
            if split != "all":
                yield (spec.name, split), counts


def _agrees(size: SplitSize, parts: Sequence[tuple[Part, Counts]]) -> bool:
    if len(parts) > 1:
        return False
    (part, counts) = parts[0]
    return size.split in ("", part[1]) and (None in (size.images, counts.images) or size.images == counts.images)


def _rank(guess: Guess, size: SplitSize, name: str) -> tuple[int, int, int]:
    """Sort by how many splits have another name, how many are added up, and whether the files name the set."""
    other_names = sum(part[1] != size.split for part in guess.parts) if size.split else 0
    named = _folder_in_name(name) == SETS[guess.parts[0][0]].folder
    return other_names, len(guess.parts), 0 if named else 1


def _folder_in_name(name: str) -> str:
    plain = name.lower().replace("refcoco_plus", "refcoco+").replace("refcocoplus", "refcoco+")
    folders: Iterable[str] = sorted({spec.folder for spec in SETS.values()}, key=len, reverse=True)
    return next((folder for folder in folders if folder in plain), "")
