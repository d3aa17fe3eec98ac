"""What the reports share: where records are, where pages go, and which runs a table takes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.common_options import CommonOptions, RunsFolder, known
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.files import require_writable
from pipeline.object_store.address import origin_of
from reports.layout import Table
from reports.render import to_text
from reports.run_selection import Wanted
from sharedris.errors import printable


@dataclass(frozen=True, kw_only=True)
class ReportOptions(CommonOptions):
    """The folders, and which runs are taken."""

    runs: RunsFolder = Path("runs")
    """Folder with records/, samples/, costs/."""
    out: Path | None = None
    """Folder to write (default: RUNS/report; ./report for runs in an object store)."""
    prepared: Path = Path("data/prepared")
    """Root of prepared sets, for the pictures."""
    protocol: str = "original"
    """How masks are scored."""
    data: str = ""
    """Data set in full (refcoco+_unc), or several, joined by commas, trained on together (default: most runs)."""
    split: str = ""
    """Split of the set (default: val)."""
    scale: str = ""
    """Scale of the runs: tiny, base, large."""
    recipe: str = ""
    """Recipe of the runs, where there are several."""

    @property
    def place(self) -> Path:
        """Folder to write."""
        return self.out or (self.runs if origin_of(self.runs) is None else Path()) / "report"

    @property
    def wanted(self) -> Wanted:
        """Which runs a table takes."""
        return Wanted(protocol=self.protocol, data=self.data, split=self.split, scale=self.scale, recipe=self.recipe)


def check_report(options: ReportOptions) -> None:
    """Refuse what would end a report after its work.

    Raises:
        InputError: for a protocol that does not exist, or an unwritable folder.
    """
    known(PROTOCOLS, options.protocol, "--protocol")
    require_writable(options.place, "--out")


def shown(table: Table) -> str:
    """Return a table for the terminal, whose labels may come from records."""
    return "\n".join(map(printable, to_text(table).split("\n")))


def ended_with(problems: Iterable[str]) -> int:
    """Print what could not be used; return 1 where there is any, else 0."""
    problems = list(problems)
    for problem in problems:
        print(printable(f"problem: {problem}"), file=sys.stderr)
    return 1 if problems else 0
