"""The text and the JSON of an identification."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.data.copies.findings import Finding
from pipeline.data.copies.identify import Identity, SplitContent
from sharedris.errors import printable

NO_SPLIT = "(no split)"


def identity_text(identities: Sequence[Identity]) -> str:
    """Return the lines that the command prints."""
    out = io.StringIO()
    for identity in identities:
        for line in _lines(identity):
            print(printable(line), file=out)
    return out.getvalue()


def _lines(identity: Identity) -> Iterator[str]:
    copy = identity.copy
    yield f"{copy.name}: {copy.form}, {len(copy.files)} file(s), {len(copy.records):,} rows"
    for split in identity.splits:
        yield f"  {split.size.split or NO_SPLIT} = {content_text(split)}"
        yield f"    {_size_text(split)}"
        for finding in identity.findings:
            if finding.split == split.size.split:
                yield f"    {_finding_text(finding)}"
    if identity.leaks:
        yield "  held-out images that published training splits hold:"
        for leak in identity.leaks:
            yield f"    {leak.split or NO_SPLIT}: {leak.images:,} images, {leak.refs:,} refs in {leak.training}"
    for note in (*copy.notes, *identity.notes):
        yield f"  note: {note}"
    yield f"  {_verdict(identity)}"


def content_text(split: SplitContent) -> str:
    """Return what a split consists of: `3,811 refcoco_unc/val + 5,000 refcoco_google/val`."""
    if split.parts or split.unknown:
        terms = [f"{rows:,} {'/'.join(part)}" for part, rows, _ in split.parts]
        terms += [f"{split.unknown:,} unknown"] if split.unknown else []
        return " + ".join(terms)
    if split.guesses:
        return f"by counts {_guess_text(split)}"
    return "of no known size"


def _guess_text(split: SplitContent) -> str:
    texts = [" + ".join("/".join(part) for part in guess.parts) for guess in split.guesses]
    first = split.guesses[0]
    unit = f"{first.count:,} {first.unit}"
    others = f" (or {'; or '.join(texts[1:])})" if len(texts) > 1 else ""
    return f"{texts[0]}, {unit}{others}"


def _size_text(split: SplitContent) -> str:
    size = split.size
    refs = "" if size.refs is None else f", {size.refs:,} refs"
    images = "" if size.images is None else f", {size.images:,} images"
    whole = ", ".join(f"{complete:.1%} of {'/'.join(part)}" for part, _, complete in split.parts)
    return f"{size.rows:,} rows{refs}, {size.sentences:,} sentences{images}{'; ' + whole if whole else ''}"


def _finding_text(finding: Finding) -> str:
    message = f" ({finding.message})" if finding.message else ""
    examples = [example for example in finding.examples if example]
    shown = f": {'; '.join(examples)}{' ...' if finding.count > len(examples) else ''}" if examples else ""
    return f"{'' if finding.is_damage else 'note: '}{finding.count:,} x {finding.kind}{message}{shown}"


def _verdict(identity: Identity) -> str:
    if not identity.is_exact:
        fits = "the sizes are those of published splits" if identity.is_whole else "not the sizes of published splits"
        return f"by counts only: {fits}. --refer ROOT or --index FILE compares ids and sentences"
    if identity.is_whole:
        return (
            f"whole: {', '.join(sorted({'/'.join(part) for split in identity.splits for part, _, _ in split.parts}))}"
        )
    counts: Counter[str] = Counter()
    for finding in identity.findings:
        counts[finding.kind] += finding.count if finding.is_damage else 0
    return "not as published: " + ", ".join(f"{count:,} x {kind}" for kind, count in counts.items() if count)


def identity_json(identities: Sequence[Identity]) -> str:
    """Return everything found, as JSON text."""
    return json.dumps([_values(identity) for identity in identities], indent=1) + "\n"


def _values(identity: Identity) -> dict[str, Any]:
    return {
        "copy": identity.copy.name,
        "form": identity.copy.form,
        "files": list(identity.copy.files),
        "notes": [*identity.copy.notes, *identity.notes],
        "compared": "ids and sentences" if identity.is_exact else "counts",
        "main_set": identity.main,
        "is_whole": identity.is_whole,
        "splits": [_split_values(split) for split in identity.splits],
        "findings": [{**vars_of(finding), "is_damage": finding.is_damage} for finding in identity.findings],
        "leaks": [vars_of(leak) for leak in identity.leaks],
    }


def _split_values(split: SplitContent) -> dict[str, Any]:
    return {
        **vars_of(split.size),
        "content": content_text(split),
        "parts": [
            {"part": "/".join(part), "rows": rows, "completeness": complete} for part, rows, complete in split.parts
        ],
        "unknown": split.unknown,
        "guesses": [
            {"parts": ["/".join(part) for part in guess.parts], "unit": guess.unit, "agrees": guess.agrees}
            for guess in split.guesses
        ],
    }


def vars_of(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, tuples as lists."""
    return {name: list(entry) if isinstance(entry, tuple) else entry for name, entry in vars(value).items()}
