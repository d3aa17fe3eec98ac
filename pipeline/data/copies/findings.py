"""What differs between a copy and the published splits that it holds."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.data.catalog import SETS
from pipeline.data.copies.explanation import Content, Explanation
from pipeline.data.copies.index import Entry, ReferenceIndex
from pipeline.data.copies.matching import Item

MOST_EXAMPLES = 5
NOTES = {"renamed split", "other order"}
"""Kinds that change no score: they are printed, and the copy still counts as whole."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something found in a split of a copy.

    Attributes:
        kind: a short name to count by; those in NOTES are no damage.
        split: of the copy.
        examples: the first few places.
    """

    kind: str
    split: str
    count: int
    message: str
    examples: tuple[str, ...] = ()

    @property
    def is_damage(self) -> bool:
        """Whether it changes what is trained or scored."""
        return self.kind not in NOTES


def find_differences(explanation: Explanation, index: ReferenceIndex, main: str) -> list[Finding]:
    """Return everything in which a split of the copy differs from what was published."""
    found = _Collected(explanation.split)
    by_id = {id(entry): entry for content in explanation.contents for entry in index.parts[content.part]}
    for content in explanation.contents:
        _split_findings(content, explanation, found)
        for key, items in content.places.items():
            _compare(by_id[key], items, found)
        for entry, item in content.extra:
            kind = "doubled row" if item.is_ref else "doubled sentence"
            found.add(kind, item.record.where, f"ref {entry.ref_id} of {'/'.join(content.part)} again")
        if content.is_main:
            for entry in index.parts[content.part]:
                if id(entry) not in content.places:
                    found.add("missing ref", f"ref {entry.ref_id}", f"not there of {'/'.join(content.part)}")
        _order(content, by_id, found)
    _unknown(explanation, by_id, index, main, found)
    return found.findings()


class _Collected:
    """Counts per kind and message, with the first places."""

    def __init__(self, split: str) -> None:
        self.split = split
        self.places: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.open_sentences: Counter[int] = Counter()  # image -> missing sentences of one-sentence rows

    def add(self, kind: str, where: str, message: str = "") -> None:
        self.places[kind, ""].append(f"{where}: {message}" if message else where)

    def add_rows(self, kind: str, message: str, items: Iterable[Item]) -> None:
        self.places[kind, message] += [item.record.where for item in items]

    def findings(self) -> list[Finding]:
        return [
            Finding(
                kind=kind,
                split=self.split,
                count=len(places),
                message=message,
                examples=tuple(places[:MOST_EXAMPLES]),
            )
            for (kind, message), places in self.places.items()
        ]


def _split_findings(content: Content, explanation: Explanation, found: _Collected) -> None:
    name, part = content.part
    items = [item for placed in content.places.values() for item in placed]
    full, split = "/".join(content.part), explanation.split or "the copy"
    if content is not explanation.contents[0]:
        found.add_rows("mixed in", f"{full} inside {split}", items)
    elif explanation.split and part != explanation.split:
        is_other_split = explanation.split in SETS[name].splits
        found.add_rows("wrong split" if is_other_split else "renamed split", f"{split} holds {full}", items)


def _compare(entry: Entry, items: Sequence[Item], found: _Collected) -> None:
    where = items[0].record.where
    record = items[0].record
    for item in items:
        for trouble in item.record.trouble:
            found.add("unreadable field", item.record.where, trouble)
        ids = (item.record.stated_image_id, item.record.image_id)
        if others := [name for name in ids if name not in (None, entry.image_id)]:
            found.add("other image_id", item.record.where, f"{others[0]}, published {entry.image_id}")
    if record.ref_id is not None and record.ref_id != entry.ref_id:
        found.add("other ref_id", where, f"{record.ref_id}, published {entry.ref_id}")
    if record.ann_id is not None and record.ann_id != entry.ann_id:
        found.add("other ann_id", where, f"{record.ann_id}, published {entry.ann_id}")
    exact = [value for item in items for value in item.exact]
    loose = [value for item in items for value in item.loose]
    _compare_sentences(entry, exact, loose, items, found)


def _compare_sentences(
    entry: Entry, exact: list[int], loose: list[int], items: Sequence[Item], found: _Collected
) -> None:
    """Pair sentences: the same text first, then the text before cleaning, then the same but for case and signs."""
    where = items[0].record.where
    if Counter(exact) == Counter(entry.sentences):
        return
    given = list(range(len(exact)))
    open_ones = list(range(len(entry.sentences)))
    for kind, ours, theirs in (
        ("", exact, entry.sentences),
        ("raw sentence", exact, entry.raw),
        ("respelled sentence", loose, entry.loose),
    ):
        for position in list(given):
            match = next((at for at in open_ones if at < len(theirs) and theirs[at] == ours[position]), None)
            if match is not None:
                given.remove(position)
                open_ones.remove(match)
                if kind:
                    found.add(kind, where, f"of ref {entry.ref_id}")
    doubled = [position for position in given if loose[position] in entry.loose]
    others = [position for position in given if loose[position] not in entry.loose]
    altered = min(len(others), len(open_ones))
    for kind, count in (
        ("doubled sentence", len(doubled)),
        ("altered sentence", altered),
        ("added sentence", len(others) - altered),
    ):
        for _ in range(count):
            found.add(kind, where, f"of ref {entry.ref_id}")
    lost = len(open_ones) - altered
    if not items[0].is_ref:
        found.open_sentences[entry.image_id] += lost
    for _ in range(lost):
        found.add("missing sentence", f"ref {entry.ref_id}", where)


def _order(content: Content, by_id: dict[int, Entry], found: _Collected) -> None:
    """Note rows that are in another order than in the published file."""
    placed = sorted((items[0].order, by_id[key].position) for key, items in content.places.items())
    moved = sum(later < earlier for (_, earlier), (_, later) in itertools.pairwise(placed))
    if moved:
        key = ("other order", f"{'/'.join(content.part)}, rows that follow one which is published later")
        found.places[key] += [""] * moved


def _unknown(
    explanation: Explanation, by_id: dict[int, Entry], index: ReferenceIndex, main: str, found: _Collected
) -> None:
    """Report rows that are no published ref; a one-sentence row may be one whose sentence was changed."""
    for item in explanation.unknown:
        for trouble in item.record.trouble:
            found.add("unreadable field", item.record.where, trouble)
        image = item.record.image_id
        if not item.is_ref and image is not None and found.open_sentences[image] > 0:
            found.open_sentences[image] -= 1
            _pair_with_missing(image, by_id, item, found)
        elif main and explanation.split in SETS[main].splits and explanation.split not in index.splits_of(main):
            found.add_rows("not indexed", f"the index lacks {main}/{explanation.split}", [item])
        else:
            found.add("unknown row", item.record.where, _why(item, index))


def _pair_with_missing(image: int, by_id: dict[int, Entry], item: Item, found: _Collected) -> None:
    """Count a changed sentence once: as altered, not as one missing and one unknown."""
    refs = {f"ref {entry.ref_id}" for entry in by_id.values() if entry.image_id == image}
    missing = found.places["missing sentence", ""]
    match = next(text for text in missing if text.partition(":")[0] in refs)
    missing.remove(match)
    if not missing:
        del found.places["missing sentence", ""]
    found.add("altered sentence", item.record.where, f"of {match.partition(':')[0]}")


def _why(item: Item, index: ReferenceIndex) -> str:
    if item.record.image_id is None:
        return "no published ref has its sentences"
    known = item.record.image_id in index.by_image
    return f"image {item.record.image_id} {'has no such ref' if known else 'is in no indexed set'}"


def find_shared_refs(explanations: Sequence[Explanation], index: ReferenceIndex) -> Iterator[Finding]:
    """Yield a finding for each two splits of a copy that hold the same refs."""
    by_id = {id(entry): entry for entries in index.parts.values() for entry in entries}
    keys = {
        one.split: {
            by_id[key].object_key: items[0].record.where
            for content in one.contents
            for key, items in content.places.items()
        }
        for one in explanations
    }
    splits = list(keys)
    for position, first in enumerate(splits):
        for second in splits[position + 1 :]:
            shared = [where for key, where in keys[first].items() if key in keys[second]]
            if shared:
                yield Finding(
                    kind="in two splits",
                    split=first,
                    count=len(shared),
                    message=f"also in {second}",
                    examples=tuple(shared[:MOST_EXAMPLES]),
                )
