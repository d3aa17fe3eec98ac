"""Which training splits hold the images and refs that a copy holds out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.data.catalog import SETS
from pipeline.data.copies.explanation import Explanation
from pipeline.data.copies.index import ReferenceIndex

TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Images and refs of a held-out split that a published training split holds as well."""

    split: str
    training: str
    images: int
    refs: int


def find_leaks(explanations: Sequence[Explanation], index: ReferenceIndex) -> Iterator[Leak]:
    """Yield a leak for each held-out split of the copy and each training split of the index that shares images."""
    by_id = {id(entry): entry for entries in index.parts.values() for entry in entries}
    training = {part: entries for part, entries in index.parts.items() if part[1] == TRAIN}
    known = {
        part: ({entry.image_id for entry in entries}, {entry.object_key for entry in entries})
        for part, entries in training.items()
    }
    for one in explanations:
        if one.split == TRAIN:
            continue
        entries = [by_id[key] for content in one.contents for key in content.places]
        for part, (images, refs) in known.items():
            ours = [entry for entry in entries if SETS[entry.part[0]].family == SETS[part[0]].family]
            shared = {entry.image_id for entry in ours} & images
            if shared:
                count = len({entry.object_key for entry in ours} & refs)
                yield Leak(split=one.split, training="/".join(part), images=len(shared), refs=count)
