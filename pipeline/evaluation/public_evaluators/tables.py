"""Tables of docs/protocols.md: who measures what, and what the choice of counting changes on the same masks."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.evaluation.public_evaluators.counts import MaskCounts
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS
from sharedris.errors import InputError

_COLUMNS = {
    "mean IoU": ("Mean IoU", "mean IoU", "mIoU", "IoU", "gIoU", "giou", "miou"),
    "overall IoU": ("overall IoU", "oIoU", "cIoU", "ciou"),
    "P@0.5": ("precision@0.5", "Pr@50", "P@0.5"),
    "P@0.7": ("precision@0.7", "Pr@70", "Pr@0.7", "P@0.7"),
    "P@0.9": ("precision@0.9", "Pr@90", "Pr@0.9", "P@0.9"),
}
"""Heading -> the names that public code gives the score."""


def _markdown(rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * lines[0].count(" | ") + "---|", *lines[1:]])


def who_measures_what() -> str:
    """Return a Markdown table of the rules, then one of the code, then the known faults."""
    every = PUBLIC_EVALUATORS.values()
    rules = [("name", "of", "masks, and their size", "both masks empty", "P@X", "means")]
    rules += [
        (f"`{each.name}`", each.system, f"{each.masks}", each.both_empty, each.precision_at or "-", each.means)
        for each in every
    ]
    code = [("name", "compared at", "without a target", "on our maps", "code")]
    for each in every:
        source = f"{each.source.repository} @ {each.source.commit[:7]}, {each.source.file}: `{each.source.function}`"
        on_maps = f"`{each.mask_rule.name}`" if each.mask_rule is not None else "-"
        code.append((f"`{each.name}`", each.scored_at, each.no_target, on_maps, source))
    faults = [f"- `{each.name}`: {fault.text}." for each in every for fault in each.faults]
    return "\n\n".join([_markdown(rules), _markdown(code), "\n".join(faults)])


def on_the_same_masks(counts: MaskCounts) -> str:
    """Return a Markdown table of every evaluator's scores, in percent, on the same counts; "-" where it has none.

    An evaluator that needs what the counts do not have is left out.
    """
    rows = [("counted as", *_COLUMNS, "others")]
    for evaluator in PUBLIC_EVALUATORS.values():
        try:
            scores = evaluator.scores(counts)
        except InputError:
            continue
        factor = 100.0 if evaluator.unit.startswith("0 to 1") else 1.0
        texts = []
        for names in _COLUMNS.values():
            found = [name for name in names if name in scores]
            texts.append(f"{factor * scores[found[0]]:.2f}" if found else "-")
        rows.append((f"`{evaluator.name}`", *texts, ", ".join(_others(scores)) or "-"))
    return _markdown(rows)


_SHOWN_TOO = {
    "N_acc": 100.0,
    "T_acc": 100.0,
    "Mean accuracy for one-to-zero sample": 1.0,
    "r": 1.0,
    "rIoU": 1.0,
    "cgF1_eval_segm_cgF1": 100.0,
    "cgF1_eval_segm_IL_MCC": 100.0,
}
"""Score that has no column -> what makes it percent."""


def _others(scores: dict[str, float]) -> list[str]:
    return [f"{name} {times * scores[name]:.2f}" for name, times in _SHOWN_TOO.items() if name in scores]
