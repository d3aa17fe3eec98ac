"""What faults have cost: seconds until training went on, steps that were trained twice, the share of useful time."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.files import atomic_writer, read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Struck:
    """A fault that has struck.

    Attributes:
        kind: of the fault.
        step: the last one that was taken before.
        seconds: until the next step of training was seen, after the restart where there was one.
        lost: steps that were trained before and again after, for each restart until then.
    """

    kind: str
    step: int
    seconds: float
    lost: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A disturbed run or sweep.

    Attributes:
        title: what was disturbed.
        struck: all faults.
        wall_seconds: from the first start to the last record.
        useful_seconds: of training that the history holds, each epoch once.
        quiet_seconds: wall time of the same without a fault.
        quiet_useful_seconds: of training in it.
        notes: what else is to be told, a sentence each.
    """

    title: str
    struck: Sequence[Struck]
    wall_seconds: float
    useful_seconds: float
    quiet_seconds: float
    quiet_useful_seconds: float
    notes: Sequence[str] = ()

    @property
    def useful_share(self) -> float:
        """The effective-training-time ratio."""
        return self.useful_seconds / self.wall_seconds

    @property
    def most_lost(self) -> int:
        """The most steps that one restart has cost."""
        return max((steps for each in self.struck for steps in each.lost), default=0)

    def lines(self) -> list[str]:
        """Return this as Markdown."""
        kinds = sorted({each.kind for each in self.struck})
        rows = [self._row(kind, [each for each in self.struck if each.kind == kind]) for kind in kinds]
        quiet = self.quiet_useful_seconds / self.quiet_seconds
        restarts = [steps for each in self.struck for steps in each.lost]
        return [
            f"## {self.title}",
            "",
            f"{len(self.struck)} faults. Weights, history, samples and records have the bits of the quiet run.",
            f"Effective-training-time ratio {self.useful_share:.2f} ({self.useful_seconds:.0f} s of training in "
            f"{self.wall_seconds:.0f} s); of the quiet run {quiet:.2f} "
            f"({self.quiet_useful_seconds:.0f} s in {self.quiet_seconds:.0f} s).",
            f"{len(restarts)} restarts of training cost {sum(restarts)} steps together, and none of them more than "
            f"{self.most_lost}.",
            *self.notes,
            "",
            "| fault | struck | p50 until the next step, s | longest, s | restarts | steps lost in one, mean | most |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]

    def _row(self, kind: str, struck: Sequence[Struck]) -> str:
        seconds, lost = [each.seconds for each in struck], [steps for each in struck for steps in each.lost]
        steps = f"{len(lost)} | {statistics.fmean(lost):.1f} | {max(lost)}" if lost else "0 | - | -"
        return f"| {kind} | {len(struck)} | {statistics.median(seconds):.1f} | {max(seconds):.1f} | {steps} |"


class Results:
    """A Markdown file, and beside it a folder with a part for each test, from which the file is made anew.

    A test that fails, or does not come to its end, leaves the parts of the others, and its faults as JSON lines.
    Another seed has parts of its own.

    Args:
        path: of the Markdown file, or None to keep nothing.
        faults: how many strike in one `make test-chaos`.
        seed: of the faults.
    """

    def __init__(self, path: Path | None, *, faults: int, seed: int) -> None:
        self._path, self._faults, self._seed = path, faults, seed

    def begin(self, name: str) -> None:
        """Forget the lines of an earlier test of this name and seed."""
        if self._path is not None:
            self._part(self._path, name, "jsonl").unlink(missing_ok=True)

    def note(self, name: str, struck: Struck) -> None:
        """Add a fault to the lines of a test."""
        if self._path is not None:
            path = self._part(self._path, name, "jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as stream:
                stream.write(json.dumps(asdict(struck)) + "\n")

    def keep(self, name: str, outcome: Outcome) -> None:
        """Write the part of a test, and the file from all parts that are there."""
        print(*outcome.lines(), sep="\n")
        if self._path is None:
            return
        path = self._part(self._path, name, "json")
        write_json(path, {"lines": outcome.lines(), "how": self._how(name), "outcome": asdict(outcome)})
        parts = [part for each in sorted(path.parent.glob("*.json")) if (part := read_json(each)) is not None]
        with atomic_writer(self._path) as stream:
            stream.write("\n".join(["# What faults cost", "", *_body(parts)]).encode())

    def _how(self, name: str) -> str:
        cores, load = os.cpu_count(), os.getloadavg()[2]
        return (
            f"`make test-chaos FAULTS={self._faults} CHAOS_SEED={self._seed}`, its {name}, on {cores} cores, "
            f"{time.strftime('%Y-%m-%d')}, versions as pinned. The load average of the last 15 minutes was {load:.1f} "
            "at the end."
        )

    def _part(self, path: Path, name: str, kind: str) -> Path:
        return path.with_suffix(".parts") / f"{name}-{self._seed}.{kind}"


def _body(parts: Sequence[dict[str, Any]]) -> list[str]:
    """Return the sections, each with how it was measured below its heading."""
    return [line for part in parts for line in (*part["lines"][:2], part["how"], *part["lines"][2:])]
