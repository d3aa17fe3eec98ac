"""Explain the items of one split of a copy by as few published splits as possible.

A ref of RefCOCO lies in a split of unc and in one of google. Which of them is meant shows only in how complete each is:
8,811 rows of which 3,811 are all of unc's val and 5,000 all of google's val are these two, not parts of the training
splits that hold most of them as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.data.copies.index import Entry, Part, ReferenceIndex
from pipeline.data.copies.matching import Item

SAME_NAME, MAIN_SET = 2.0, 4.0
"""How much more a published split counts that has the name the copy uses, and one of the copy's main set."""
WHOLE = 0.9
"""Least part of a published split that counts as that split, where its rows could also be doubled rows of another."""


@dataclass(kw_only=True)
class Content:
    """The items of a split of the copy that are explained by one published split.

    Attributes:
        completeness: the part of the published split that is there.
        places: ref -> the items that take its place.
        is_main: whether it is the split's main content, of which missing refs are reported.
    """

    part: Part
    completeness: float
    places: dict[int, list[Item]] = field(default_factory=dict)
    is_main: bool = False
    extra: list[tuple[Entry, Item]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Rows of the copy."""
        return sum(len(items) for items in self.places.values())


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a split of the copy consists of; items of `unknown` have no published ref that is not in another place."""

    split: str
    contents: tuple[Content, ...]
    unknown: tuple[Item, ...]


def main_set(items: Mapping[str, Sequence[Item]], index: ReferenceIndex) -> str:
    """Return the set that explains most splits of a copy; empty where nothing is explained."""
    total: Counter[str] = Counter()
    for part_items in items.values():
        found = _found(part_items)
        best: dict[str, float] = defaultdict(float)
        for part, entries in found.items():
            best[part[0]] = max(best[part[0]], len(entries) / len(index.parts[part]))
        total.update(best)
    order = list(dict.fromkeys(name for name, _ in index.parts))
    return max(order, key=lambda name: total[name]) if any(total.values()) else ""


def _found(items: Sequence[Item]) -> dict[Part, set[int]]:
    found: dict[Part, set[int]] = defaultdict(set)
    for item in items:
        for entry in item.candidates:
            found[entry.part].add(id(entry))
    return found


def explain(split: str, items: Sequence[Item], index: ReferenceIndex, main: str) -> Explanation:
    """Return the published splits that a split of the copy holds, the largest part first.

    Args:
        split: as the copy names it.
        items: of that split.
        index: the published sets.
        main: what `main_set` returned.
    """
    left = [item for item in items if item.candidates]
    contents: list[Content] = []
    while left:
        chosen = _next_part(split, left, index, main, contents)
        if chosen is None:
            break
        part, only_new = chosen
        content = Content(part=part, completeness=0.0, is_main=not contents)
        covered = {content.part for content in contents}
        left = _take(content, left, covered if only_new else set())
        content.completeness = len(content.places) / len(index.parts[part])
        content.is_main = content.is_main or content.completeness >= WHOLE
        contents.append(content)
    _add_doubled(contents, left)
    return Explanation(
        split=split, contents=tuple(contents), unknown=tuple(item for item in items if not item.candidates)
    )


def _next_part(
    split: str, left: Sequence[Item], index: ReferenceIndex, main: str, contents: Sequence[Content]
) -> tuple[Part, bool] | None:
    """Return the split that explains most of what is left, and whether only for refs of no chosen split."""
    chosen = {content.part for content in contents}
    free: dict[Part, set[int]] = defaultdict(set)
    new: dict[Part, set[int]] = defaultdict(set)
    for item in left:
        is_new = not any(entry.part in chosen for entry in item.candidates)
        for entry in item.candidates:
            if entry.part not in chosen:
                free[entry.part].add(id(entry))
                if is_new:
                    new[entry.part].add(id(entry))
    best: tuple[float, Part, bool] | None = None
    for part in index.parts:  # in the order of the catalog, so that equal scores are decided the same way each time
        total = len(index.parts[part])
        whole = len(free[part]) >= WHOLE * total
        share = len(free[part] if whole else new[part]) / total
        score = share * (SAME_NAME if part[1] == split else 1.0) * (MAIN_SET if part[0] == main else 1.0)
        if score > 0 and (best is None or score > best[0]):
            best = (score, part, not whole)
    return (best[1], best[2]) if best else None


def _take(content: Content, left: Sequence[Item], covered: set[Part]) -> list[Item]:
    """Give each item its place in the published split; return the items that got none."""
    remaining: list[Item] = []
    wanted: dict[int, Counter[int]] = {}
    for item in left:
        places = [entry for entry in item.candidates if entry.part == content.part]
        if covered and any(entry.part in covered for entry in item.candidates):
            places = []
        place = next((entry for entry in places if _has_room(entry, item, content, wanted)), None)
        if place is None:
            remaining.append(item)
        else:
            content.places.setdefault(id(place), []).append(item)
    return remaining


def _has_room(entry: Entry, item: Item, content: Content, wanted: dict[int, Counter[int]]) -> bool:
    """Return whether the place of a ref is free; one-sentence rows without a ref id fill it sentence by sentence."""
    if item.is_ref:
        return id(entry) not in content.places
    room = wanted.setdefault(id(entry), Counter(entry.loose))
    name = item.loose[0] if item.loose else 0
    if name not in room and item.exact and item.exact[0] in entry.raw[: len(entry.loose)]:
        name = entry.loose[entry.raw.index(item.exact[0])]
    if room[name] <= 0:
        return False
    room[name] -= 1
    return True


def _add_doubled(contents: Sequence[Content], left: Sequence[Item]) -> None:
    for item in left:
        for content in contents:
            entry = next((entry for entry in item.candidates if entry.part == content.part), None)
            if entry is not None:
                content.extra.append((entry, item))
                break
