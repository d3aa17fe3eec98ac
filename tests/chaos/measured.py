"""What faults have cost: seconds until training went on, steps that were trained twice, the share of useful time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Struck:
    """A fault that has struck.

    Attributes:
        kind: of the fault.
        step: the last one that was seen before.
        seconds: until the next step of training was seen, after the restart where there was one.
        lost: steps that were trained before and again after, or None where the kind restarts nothing.
    """

    kind: str
    step: int
    seconds: float
    lost: int | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A disturbed run or sweep.

    Attributes:
        title: what was disturbed.
        struck: all faults.
        wall_seconds: from the first start to the last record.
        useful_seconds: of training that the history holds, each epoch once.
        quiet_seconds: wall time of the same without a fault.
        notes: what else is to be told, a sentence each.
    """

    title: str
    struck: Sequence[Struck]
    wall_seconds: float
    useful_seconds: float
    quiet_seconds: float
    notes: Sequence[str] = ()

    @property
    def useful_share(self) -> float:
        """The effective-training-time ratio."""
        return self.useful_seconds / self.wall_seconds

    @property
    def most_lost(self) -> int:
        """The most steps that one fault has cost."""
        return max((each.lost for each in self.struck if each.lost is not None), default=0)

    def lines(self) -> list[str]:
        """Return this as Markdown."""
        kinds = sorted({each.kind for each in self.struck})
        rows = [self._row(kind, [each for each in self.struck if each.kind == kind]) for kind in kinds]
        quiet = self.useful_seconds / self.quiet_seconds
        return [
            f"## {self.title}",
            "",
            f"{len(self.struck)} faults. Weights, history, samples and records have the bits of the quiet run.",
            f"Effective-training-time ratio {self.useful_share:.2f} ({self.useful_seconds:.0f} s of training in "
            f"{self.wall_seconds:.0f} s); of the quiet run {quiet:.2f} ({self.quiet_seconds:.0f} s).",
            f"The most steps that one fault has cost: {self.most_lost}, counted from the last step that was seen "
            "(progress is written at the start of each epoch, of 4 steps).",
            *self.notes,
            "",
            "| fault | struck | p50 until the next step, s | longest, s | steps lost, mean | most |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]

    def _row(self, kind: str, struck: Sequence[Struck]) -> str:
        seconds, lost = [each.seconds for each in struck], [each.lost for each in struck if each.lost is not None]
        steps = f"{statistics.fmean(lost):.1f} | {max(lost)}" if lost else "- | -"
        return f"| {kind} | {len(struck)} | {statistics.median(seconds):.1f} | {max(seconds):.1f} | {steps} |"
