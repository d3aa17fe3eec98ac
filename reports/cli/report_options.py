"""What the reports have as options: where records are, where pages go, and which runs a table takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.common_options import CommonOptions, RunsFolder
from pipeline.object_store.address import origin_of

if TYPE_CHECKING:
    from reports.run_selection import Wanted


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

        from reports.run_selection import Wanted  # pandas: not for `--help`

        return Wanted(protocol=self.protocol, data=self.data, split=self.split, scale=self.scale, recipe=self.recipe)
