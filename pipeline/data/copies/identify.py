"""Identify copies: by counts only, or exactly with an index of the published sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.catalog import SETS, Counts, split_sort_key
from pipeline.data.copies.counts import Guess, SplitSize, guesses, size_of
from pipeline.data.copies.explanation import Explanation, explain, main_set
from pipeline.data.copies.files import Copy, read_copies
from pipeline.data.copies.findings import Finding, find_differences, find_shared_refs
from pipeline.data.copies.index import Part, ReferenceIndex
from pipeline.data.copies.leaks import Leak, find_leaks
from pipeline.data.copies.matching import Item, matched_items
from pipeline.data.copies.records import CopyRecord


@dataclass(frozen=True, kw_only=True)
class SplitContent:
    """What a split of a copy consists of: (set, split), rows, and the complete part of the published split."""

    size: SplitSize
    parts: tuple[tuple[Part, int, float], ...]
    unknown: int
    guesses: tuple[Guess, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The result for one copy.

    Attributes:
        is_exact: whether ids and sentences were compared, not only counts.
        main: the set that it holds mostly; empty where nothing is known of it.
    """

    copy: Copy
    is_exact: bool
    main: str
    splits: tuple[SplitContent, ...]
    findings: tuple[Finding, ...] = ()
    leaks: tuple[Leak, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every split is one published split, whole and unchanged."""
        if not self.is_exact:
            return all(split.guesses and split.guesses[0].agrees for split in self.splits)
        is_known = all(split.parts and not split.unknown for split in self.splits)
        return is_known and not any(finding.is_damage for finding in self.findings)


def identify(path: Path, index: ReferenceIndex | None) -> list[Identity]:
    """Return what each copy in a file or folder is.

    Args:
        path: a file or folder.
        index: of the published sets; None compares counts only.

    Raises:
        InputError: when nothing there is a copy of a referring set, or a file is damaged.
    """
    return [
        _by_counts(copy, str(path)) if index is None else _by_index(copy, index) for copy in read_copies(Path(path))
    ]


def _by_split(records: Sequence[CopyRecord]) -> dict[str, list[CopyRecord]]:
    found: dict[str, list[CopyRecord]] = defaultdict(list)
    for record in records:
        found[record.split].append(record)
    return {split: found[split] for split in sorted(found, key=split_sort_key)}


def _by_counts(copy: Copy, path: str) -> Identity:
    splits = tuple(
        SplitContent(size=size, parts=(), unknown=0, guesses=tuple(guesses(size, f"{path}/{copy.name}")))
        for size in (size_of(split, records) for split, records in _by_split(copy.records).items())
    )
    return Identity(copy=copy, is_exact=False, main="", splits=splits)


def _by_index(copy: Copy, index: ReferenceIndex) -> Identity:
    sizes = {split: size_of(split, records) for split, records in _by_split(copy.records).items()}
    items: dict[str, list[Item]] = {split: [] for split in sizes}
    for item in matched_items(copy.records, index):
        items[item.record.split].append(item)
    main = main_set(items, index)
    explanations = [explain(split, items[split], index, main) for split in sizes]
    findings = [finding for one in explanations for finding in find_differences(one, index, main)]
    return Identity(
        copy=copy,
        is_exact=True,
        main=main,
        splits=tuple(_content(one, sizes[one.split]) for one in explanations),
        findings=(*findings, *find_shared_refs(explanations, index)),
        leaks=tuple(find_leaks(explanations, index)),
        notes=tuple(_notes(explanations, index, main)),
    )


def _notes(explanations: Sequence[Explanation], index: ReferenceIndex, main: str) -> Iterator[str]:
    """Yield what limits the comparison: splits that the copy lacks, and an index of other sizes than published."""
    held = {content.part for one in explanations for content in one.contents}
    if main and (absent := [split for split in SETS[main].splits if (main, split) not in held]):
        yield f"the copy has nothing of {main}/{', '.join(absent)}"
    for name, split in sorted(held):
        published, indexed = SETS[name].published.get(split, Counts()).refs, len(index.parts[name, split])
        if published is not None and published != indexed:
            yield f"the index holds {indexed:,} refs of {name}/{split}, {published:,} were published"


def _content(explanation: Explanation, size: SplitSize) -> SplitContent:
    parts = tuple((content.part, content.size, content.completeness) for content in explanation.contents)
    return SplitContent(size=size, parts=parts, unknown=len(explanation.unknown))
