"""Checks of a set before hours are spent on it: counts, images, masks, sentences, leakage.

Each check returns findings. An `error` would change results (exit code 1), a `warning` may, a `note` is information.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

from pycocotools import mask as coco_mask

from pipeline.data.catalog import SETS, Counts, split_sort_key
from pipeline.data.readers.annotations import Problem, Source, SourceRef
from sharedris.tokenizer import Tokenizer

Level = Literal["error", "warning", "note"]

_BOX_TOLERANCE_PIXELS = 2.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Findings of one kind; `items` lists every case."""

    level: Level
    kind: str
    message: str
    items: tuple[str, ...] = ()


@dataclass(kw_only=True)
class CheckResult:
    """Counts and findings of a set."""

    set_name: str
    origin: str
    counts: dict[str, Counts]
    published: dict[str, Counts]
    findings: list[Finding] = field(default_factory=list)
    statistics: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return all(finding.level != "error" for finding in self.findings)


def check_source(
    source: Source,
    *,
    origin: str,
    image_problems: Iterable[Problem] | None,
    tokenizer: Tokenizer | None,
    text_tokens: int,
) -> CheckResult:
    """Check a set that was read.

    Args:
        origin: where it was read from, for the heading.
        image_problems: problems of the images; None if they were not checked.
        tokenizer: cuts sentences into pieces; None counts words, a lower bound.
        text_tokens: T; a sentence keeps T - 2 pieces.
    """
    spec = SETS.get(source.set_name)
    result = CheckResult(
        set_name=source.set_name,
        origin=origin,
        counts=count_refs(source.refs),
        published=spec.published if spec else {},
    )
    result.findings = [
        *_count_findings(result),
        *_problem_findings(source.problems, len(source.refs)),
        *_image_findings(image_problems),
        *_mask_findings(source.refs),
        *_length_findings(source.refs, tokenizer, text_tokens, result.statistics),
        *_unknown_findings(source.refs, tokenizer),
        *_split_overlap(source.refs, by_design=bool(spec and spec.splits_share_images)),
    ]
    return result


def count_refs(refs: list[SourceRef]) -> dict[str, Counts]:
    """Return images, refs and expressions per split, and of all."""
    counts: dict[str, Counts] = {}
    for part in sorted({ref.split for ref in refs}, key=split_sort_key):
        counts[part] = _count([ref for ref in refs if ref.split == part])
    counts["all"] = _count(refs)
    return counts


def _count(refs: list[SourceRef]) -> Counts:
    images = len({ref.image.image_id for ref in refs})
    return Counts(images=images, refs=len(refs), expressions=sum(len(ref.expressions) for ref in refs))


def _count_findings(result: CheckResult) -> list[Finding]:
    """Compare with the published counts: absent splits, different counts, splits that agree."""
    findings: list[Finding] = []
    parts = [part for part in result.published if part != "all"]
    absent = [part for part in parts if part not in result.counts]
    if absent:
        lost = "; ".join(f"{part} ({_size_text(result.published[part])})" for part in absent)
        findings.append(Finding(level="error", kind="absent split", message=f"not in these annotations: {lost}"))
    agree = [part for part in parts if part in result.counts and _same(result.counts[part], result.published[part])]
    for part in parts:
        if part in result.counts and part not in agree:
            message = f"{part} has {_size_text(result.counts[part])}; published: {_size_text(result.published[part])}"
            findings.append(Finding(level="error", kind="count differs", message=message))
    if agree:
        findings.append(Finding(level="note", kind="counts", message=f"{', '.join(agree)}: as published"))
    return findings


def _same(counts: Counts, published: Counts) -> bool:
    pairs = (("images", counts.images), ("refs", counts.refs), ("expressions", counts.expressions))
    return all(getattr(published, name) in (None, value) for name, value in pairs)


def _size_text(counts: Counts) -> str:
    parts = [("images", counts.images), ("refs", counts.refs), ("expressions", counts.expressions)]
    return ", ".join(f"{value:,} {name}" for name, value in parts if value is not None)


def _problem_findings(problems: Iterable[Problem], refs: int) -> list[Finding]:
    grouped: dict[str, list[str]] = {}
    for problem in problems:
        grouped.setdefault(problem.kind, []).append(str(problem))
    findings: list[Finding] = []
    for kind, items in grouped.items():
        message = f"{len(items):,} {'case' if len(items) == 1 else 'cases'}"
        if kind == "no mask" and len(items) == refs:
            message = (
                f"none of the {refs:,} refs has a mask: these annotations can be counted, not trained or scored on"
            )
        findings.append(Finding(level="error", kind=kind, message=message, items=tuple(items)))
    return findings


def _image_findings(problems: Iterable[Problem] | None) -> list[Finding]:
    if problems is None:
        return [Finding(level="warning", kind="images", message="not checked (--no-images)")]
    return _problem_findings(problems, -1)


def _mask_findings(refs: list[SourceRef]) -> list[Finding]:
    empty, outside, shifted = [], [], []
    for ref in refs:
        where = f"ref {ref.ref_id} ({ref.image.file_name})"
        if ref.box is not None and _leaves(ref):
            outside.append(f"{where}: box {list(ref.box)} leaves {ref.image.height} x {ref.image.width} pixels")
        if ref.mask_rle is None:
            continue
        rle = {"size": [ref.image.height, ref.image.width], "counts": ref.mask_rle}
        extent = coco_mask.toBbox(rle).tolist()
        if not coco_mask.area(rle):
            empty.append(f"{where}: no pixel inside the image")
        elif ref.box is not None and not _leaves(ref) and _corner_distance(extent, ref.box) > _BOX_TOLERANCE_PIXELS:
            shifted.append(f"{where}: mask spans {extent}, its box is {list(ref.box)}")
    kinds: tuple[tuple[Level, str, list[str], str], ...] = (
        ("error", "empty mask", empty, "masks without a pixel"),
        ("error", "mask outside", outside, "objects that leave their image"),
        ("warning", "mask and box differ", shifted, "masks that do not fill their annotated box"),
    )
    return [
        Finding(level=level, kind=kind, message=f"{len(items):,} {text}", items=tuple(items))
        for level, kind, items, text in kinds
        if items
    ]


def _leaves(ref: SourceRef) -> bool:
    assert ref.box is not None
    x, y, width, height = ref.box
    slack = _BOX_TOLERANCE_PIXELS
    beyond = x + width > ref.image.width + slack or y + height > ref.image.height + slack
    return x < -slack or y < -slack or beyond


def _corner_distance(extent: Sequence[float], box: Sequence[float]) -> float:
    first, second = [(x, y, x + width, y + height) for x, y, width, height in (extent, box)]
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def _length_findings(
    refs: list[SourceRef], tokenizer: Tokenizer | None, text_tokens: int, statistics: dict[str, float]
) -> list[Finding]:
    texts = [text for ref in refs for text in ref.expressions]
    if not texts:
        return [Finding(level="error", kind="no expressions", message="the set has no expressions")]
    cut = tokenizer.pieces if tokenizer else str.split
    lengths = Counter(len(cut(text)) for text in texts)
    unit = "pieces" if tokenizer else "words (no tokenizer given; pieces are more)"
    longer = sum(count for length, count in lengths.items() if length > text_tokens - 2)
    statistics.update(
        expressions=len(texts),
        mean_length=sum(length * count for length, count in lengths.items()) / len(texts),
        longest=max(lengths),
        truncated=longer,
    )
    ratio = f"{longer:,} of {len(texts):,} expressions ({longer / len(texts):.2%})"
    truncated = f"{ratio} are longer than T - 2 = {text_tokens - 2}"
    note = Finding(
        level="warning" if longer else "note",
        kind="length",
        message=f"{truncated} {unit} and are cut; mean {statistics['mean_length']:.1f}, longest {max(lengths)}",
    )
    return [note]


def _unknown_findings(refs: list[SourceRef], tokenizer: Tokenizer | None) -> list[Finding]:
    """Count what the tokenizer does not know, and list the sentences that have such pieces."""
    if tokenizer is None:
        return []
    texts = [text for ref in refs for text in ref.expressions]
    found = tokenizer.unknown_pieces(texts)
    if not found.unknown:
        return [Finding(level="note", kind="words", message=str(found))]
    items = tuple(text for text in dict.fromkeys(texts) if tokenizer.unknown_pieces([text]).unknown)
    return [Finding(level="warning", kind="words", message=f"{found}: the model does not read them", items=items)]


def _split_overlap(refs: list[SourceRef], *, by_design: bool) -> list[Finding]:
    images: dict[str, set[str]] = {}
    for ref in refs:
        images.setdefault(ref.split, set()).add(ref.image.file_name)
    findings = []
    for first, second in combinations(sorted(images, key=split_sort_key), 2):
        shared = sorted(images[first] & images[second])
        if shared:
            reason = "; this set's published splits divide objects, not images" if by_design else ""
            message = f"{len(shared):,} images are in both {first} and {second}{reason}"
            level: Level = "note" if by_design else "error"
            findings.append(Finding(level=level, kind="images in two splits", message=message, items=tuple(shared)))
    return findings
