"""The rules that the refs of a set have to obey: one list, for `sharedris data check` and `sharedris data prepare`.

A broken rule of level `error` would change results: `check` exits with 1, `prepare` refuses the set, or leaves the refs
out with `--on-bad-ref skip`. One of level `warning` may; `prepare` counts it, and with `skip` leaves out the refs of a
rule that is `skippable`. A `note` is information.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pycocotools import mask as coco_mask

from pipeline.data.catalog import SETS, may_lack_target, split_sort_key
from pipeline.data.readers.annotations import Box, SourceRef

Level = Literal["error", "warning", "note"]

BOX_TOLERANCE_PIXELS = 2.0


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One case of a broken rule, and the positions of the refs that `prepare --on-bad-ref skip` leaves out for it."""

    where: str
    message: str
    refs: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Rule(abc.ABC):
    """A rule about the refs of a set.

    Attributes:
        kind: its name in reports, counts and manifests.
        level: what breaking it means.
        text: what the cases are, after their number.
        skippable: whether `--on-bad-ref skip` leaves the refs out where the level is `warning` too.
        note: what is added to the text in a set where the cases are a note.
    """

    kind: str
    level: Level
    text: str
    skippable: bool = False
    note: str = ""

    @abc.abstractmethod
    def violations(self, refs: Sequence[SourceRef]) -> Iterator[Violation]:
        """Yield the cases in which refs break this rule."""

    def level_in(self, set_name: str) -> Level:
        """Return what breaking the rule means in a set."""
        return self.level


class RefRule(Rule):
    """A rule that each ref obeys or breaks by itself."""

    def violations(self, refs: Sequence[SourceRef]) -> Iterator[Violation]:
        for position, ref in enumerate(refs):
            if message := self.problem(ref):
                yield Violation(where=f"ref {ref.ref_id} ({ref.image.file_name})", message=message, refs=(position,))

    @abc.abstractmethod
    def problem(self, ref: SourceRef) -> str:
        """Return how the ref breaks this rule; empty if it does not."""


@dataclass(frozen=True, kw_only=True)
class HasExpressions(RefRule):
    """A ref has a sentence to find it by."""

    kind: str = "no expressions"
    level: Level = "error"
    text: str = "refs without an expression"

    def problem(self, ref: SourceRef) -> str:
        return "" if ref.expressions else "has no expression with words"


@dataclass(frozen=True, kw_only=True)
class HasTarget(RefRule):
    """A ref names an object, but in sets that have sentences without a target."""

    kind: str = "no target"
    level: Level = "error"
    text: str = "refs without a target"
    note: str = "; this set has sentences that name no object"

    def problem(self, ref: SourceRef) -> str:
        return "" if ref.objects else "names no object"

    def level_in(self, set_name: str) -> Level:
        """Return a note for gRefCOCO, Ref-ZOM, R-RefCOCO and toyg_none; an own set must have a target."""
        return "note" if may_lack_target(set_name) else self.level


@dataclass(frozen=True, kw_only=True)
class MaskNotEmpty(RefRule):
    """The mask of a ref with a target has a pixel inside its image."""

    kind: str = "empty mask"
    level: Level = "error"
    text: str = "masks without a pixel"

    def problem(self, ref: SourceRef) -> str:
        if ref.mask_rle is None or not ref.objects or coco_mask.area(_rle(ref)):
            return ""
        return "no pixel inside the image"


@dataclass(frozen=True, kw_only=True)
class ObjectInsideImage(RefRule):
    """Box and polygons lie inside the image: outside of it they are drawn for an image of another size."""

    kind: str = "mask outside"
    level: Level = "error"
    text: str = "objects that leave their image"

    def problem(self, ref: SourceRef) -> str:
        size = f"{ref.image.height} x {ref.image.width} pixels"
        if ref.box is not None and leaves_image(ref, ref.box):
            return f"box {list(ref.box)} leaves {size}"
        if ref.outline is not None and leaves_image(ref, ref.outline):
            return f"polygons of box {list(ref.outline)} leave {size}"
        return ""


@dataclass(frozen=True, kw_only=True)
class MaskFillsBox(RefRule):
    """A mask spans its annotated box, to within two pixels."""

    kind: str = "mask and box differ"
    level: Level = "warning"
    text: str = "masks that do not fill their annotated box"

    def problem(self, ref: SourceRef) -> str:
        if ref.mask_rle is None or ref.box is None or leaves_image(ref, ref.box) or not coco_mask.area(_rle(ref)):
            return ""
        extent = coco_mask.toBbox(_rle(ref)).tolist()
        if _corner_distance(extent, ref.box) <= BOX_TOLERANCE_PIXELS:
            return ""
        return f"mask spans {extent}, its box is {list(ref.box)}"


class _SentenceWithoutTarget(Rule):
    """A rule about what else is said of an image in the words of a sentence that names nothing there."""

    def violations(self, refs: Sequence[SourceRef]) -> Iterator[Violation]:
        images = {ref.image.image_id for ref in refs if not ref.objects}
        said: dict[tuple[int, str], list[int]] = {}
        for position, ref in enumerate(refs):
            if ref.image.image_id in images:
                for text in ref.expressions:
                    said.setdefault((ref.image.image_id, text.lower()), []).append(position)
        for (_, text), positions in said.items():
            without = [position for position in positions if not refs[position].objects]
            if without and self.is_broken(len(without), len(positions)):
                names = ", ".join(str(refs[position].ref_id) for position in dict.fromkeys(positions))
                where = f"ref {names} ({refs[without[0]].image.file_name})"
                yield Violation(where=where, message=f"{text!r}", refs=tuple(dict.fromkeys(without)))

    @abc.abstractmethod
    def is_broken(self, without: int, uses: int) -> bool:
        """Return whether the rule is broken by a sentence that names nothing in `without` of its uses."""


@dataclass(frozen=True, kw_only=True)
class SentenceNamesOrNot(_SentenceWithoutTarget):
    """A sentence either has a target in an image or has none."""

    kind: str = "contradicting sentences"
    level: Level = "warning"
    text: str = "sentences with a target in one ref and without one in another of the same image"
    skippable: bool = True

    def is_broken(self, without: int, uses: int) -> bool:
        return without < uses


@dataclass(frozen=True, kw_only=True)
class SentenceWithoutTargetOnce(_SentenceWithoutTarget):
    """A sentence without a target stands once for an image: a copy counts twice in every score."""

    kind: str = "doubled sentences"
    level: Level = "warning"
    text: str = "sentences without a target that occur more than once for one image"

    def is_broken(self, without: int, uses: int) -> bool:
        return without > 1


@dataclass(frozen=True, kw_only=True)
class ImageInOneSplit(Rule):
    """An image is in one split only. Skipping keeps it in the last of its splits, so that train gives way to val."""

    kind: str = "images in two splits"
    level: Level = "error"
    text: str = "images in two splits"
    skippable: bool = True
    note: str = "; this set's published splits divide objects, not images"

    def violations(self, refs: Sequence[SourceRef]) -> Iterator[Violation]:
        positions: dict[str, dict[str, list[int]]] = {}
        for position, ref in enumerate(refs):
            positions.setdefault(ref.image.file_name, {}).setdefault(ref.split, []).append(position)
        for file_name, by_split in positions.items():
            if len(by_split) > 1:
                splits = sorted(by_split, key=split_sort_key)
                left_out = tuple(position for split in splits[:-1] for position in by_split[split])
                yield Violation(where=file_name, message=f"is in {' and '.join(splits)}", refs=left_out)

    def level_in(self, set_name: str) -> Level:
        """Return a warning for own data, and a note where the published splits divide objects, not images.

        An own set may share images on purpose, as RefCOCOg's Google split does; a published set that should not is
        another set than its name says.
        """
        spec = SETS.get(set_name)
        if spec is None:
            return "warning"
        return "note" if spec.splits_share_images else self.level


RULES: tuple[Rule, ...] = (
    HasExpressions(),
    HasTarget(),
    MaskNotEmpty(),
    ObjectInsideImage(),
    MaskFillsBox(),
    SentenceNamesOrNot(),
    SentenceWithoutTargetOnce(),
    ImageInOneSplit(),
)
"""All rules, in the order in which they are applied: a ref that one leaves out is not seen by the next ones."""


def leaves_image(ref: SourceRef, box: Box) -> bool:
    """Return whether a box (x, y, width, height) lies outside the image by more than the tolerance."""
    x, y, width, height = box
    slack = BOX_TOLERANCE_PIXELS
    beyond = x + width > ref.image.width + slack or y + height > ref.image.height + slack
    return x < -slack or y < -slack or beyond


def _rle(ref: SourceRef) -> dict[str, object]:
    return {"size": [ref.image.height, ref.image.width], "counts": ref.mask_rle}


def _corner_distance(extent: Sequence[float], box: Sequence[float]) -> float:
    first, second = [(x, y, x + width, y + height) for x, y, width, height in (extent, box)]
    return max(abs(a - b) for a, b in zip(first, second, strict=True))
