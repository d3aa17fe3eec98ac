"""Which refs of a source are prepared: all of them, or with `--on-bad-ref skip` those that nothing is wrong with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pipeline.data.readers.annotations import Problem, Source, SourceRef, raise_problems
from pipeline.data.validation.rules import RULES
from sharedris.errors import InputError

OnBadRef = Literal["error", "skip"]


@dataclass(kw_only=True)
class Selection:
    """The refs that are kept, and what was found.

    Attributes:
        problems: every error, in the order found.
        skipped: kind -> refs, sentences or parts of polygons that are left out.
        warnings: kind -> cases that are counted only.
    """

    refs: list[SourceRef]
    problems: list[Problem] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)

    def without(self, positions: Iterable[int]) -> None:
        """Leave out the refs at these positions."""
        left_out = set(positions)
        self.refs = [ref for position, ref in enumerate(self.refs) if position not in left_out]


def select_refs(source: Source, on_bad_ref: OnBadRef) -> Selection:
    """Return the refs that obey every rule, and all that the reader and the rules found."""
    selection = Selection(refs=list(source.refs), problems=list(source.problems))
    selection.skipped.update(problem.kind for problem in [*source.problems, *source.skipped])
    # Why a ref has no mask is a problem of the reader, counted above.
    selection.without(position for position, ref in enumerate(source.refs) if ref.mask_rle is None)
    for rule in RULES:
        level = rule.level_in(source.set_name)
        broken = list(rule.violations(selection.refs))
        is_left_out = level == "error" or (level == "warning" and rule.skippable and on_bad_ref == "skip")
        if level == "warning" and broken and not is_left_out:
            selection.warnings[rule.kind] += len(broken)
        if is_left_out and broken:
            selection.problems += [Problem(kind=rule.kind, where=case.where, message=case.message) for case in broken]
            positions = {position for case in broken for position in case.refs}
            selection.skipped[rule.kind] += len(positions)
            selection.without(positions)
    return selection


def leave_out_images(selection: Selection, by_name: dict[str, Problem]) -> None:
    """Leave out the refs of images that cannot be used.

    Args:
        selection: is changed.
        by_name: file name of the image -> what is wrong with it.
    """
    selection.problems += by_name.values()
    positions = [position for position, ref in enumerate(selection.refs) if ref.image.file_name in by_name]
    selection.skipped.update(by_name[selection.refs[position].image.file_name].kind for position in positions)
    selection.without(positions)


def require_usable(selection: Selection, source: Source, on_bad_ref: OnBadRef) -> None:
    """Refuse a source with errors, unless they are skipped; refuse one without refs.

    Raises:
        InputError: one line for all errors.
    """
    if on_bad_ref == "error":
        hint = f"All are listed by: {source.check_command}; --on-bad-ref skip leaves them out"
        raise_problems(selection.problems, set_name=source.set_name, check_hint=hint)
    if not selection.refs:
        left_out = f": {counts_in_words(selection.skipped)} left out" if selection.skipped else ""
        raise InputError(f"{source.set_name} has no refs{left_out}", "Check the annotation file")


def counts_in_words(counts: dict[str, int]) -> str:
    """Return counts by kind as text, the most frequent first."""
    return ", ".join(f"{count:,} x {kind}" for kind, count in Counter(counts).most_common())
