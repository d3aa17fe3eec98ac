"""What is wrong with predictions: all of it counted, and refused together with a few examples of each kind."""

from __future__ import annotations

from dataclasses import dataclass, field

from sharedris.errors import InputError

_EXAMPLES = 3
KINDS = ("missing", "double", "unknown", "wrongly sized", "unreadable")


@dataclass(kw_only=True)
class Faults:
    """Counts by kind, with the first examples of each; memory does not grow with the number of faults."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    examples: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def add(self, kind: str, example: str) -> None:
        """Count one fault."""
        self.counts[kind] += 1
        if len(self.examples[kind]) < _EXAMPLES:
            self.examples[kind].append(example)

    def refuse(self, split: str, *, allowed: tuple[str, ...]) -> None:
        """Refuse what is not allowed.

        Raises:
            InputError: naming the count and up to three examples of every kind that is there.
        """
        found = [kind for kind in KINDS if self.counts[kind] and kind not in allowed]
        if not found:
            return
        parts = [f"{self.counts[kind]:,} {kind} ({'; '.join(self.examples[kind])}{self._more(kind)})" for kind in found]
        raise InputError(f"predictions for {split}: {', '.join(parts)}", _remedy(found))

    def _more(self, kind: str) -> str:
        return ", .." if self.counts[kind] > len(self.examples[kind]) else ""


def _remedy(found: list[str]) -> str:
    if found == ["missing"]:
        return "Predict every expression, or give --allow-missing, which scores these as empty masks"
    if found == ["unknown"]:
        return "Give predictions of this split only, or --allow-unknown, which leaves these out"
    return "Correct the predictions; nothing was recorded"
