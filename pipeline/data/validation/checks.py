"""Checks of a set before hours are spent on it: counts, images, the rules of its refs (`rules.py`), sentences.

Each check returns findings. An `error` would change results (exit code 1), a `warning` may, a `note` is information.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.data.catalog import SETS, Counts, split_sort_key
from pipeline.data.readers.annotations import Problem, Source, SourceRef
from pipeline.data.validation.rules import RULES, Level
from sharedris.tokenizer import Tokenizer


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
        *_problem_findings(source.skipped, -1, level="warning"),
        *_rule_findings(source),
        *_length_findings(source.refs, tokenizer, text_tokens, result.statistics),
        *_unknown_findings(source.refs, tokenizer),
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


def _problem_findings(problems: Iterable[Problem], refs: int, *, level: Level = "error") -> list[Finding]:
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
        findings.append(Finding(level=level, kind=kind, message=message, items=tuple(items)))
    return findings


def _image_findings(problems: Iterable[Problem] | None) -> list[Finding]:
    if problems is None:
        return [Finding(level="warning", kind="images", message="not checked (--no-images)")]
    return _problem_findings(problems, -1)


def _rule_findings(source: Source) -> list[Finding]:
    findings: list[Finding] = []
    for rule in RULES:
        items = tuple(str(case) for case in rule.violations(source.refs))
        if items:
            level = rule.level_in(source.set_name)
            message = f"{len(items):,} {rule.text}{rule.note if level == 'note' else ''}"
            findings.append(Finding(level=level, kind=rule.kind, message=message, items=items))
    return findings


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
