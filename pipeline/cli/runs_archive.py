"""`sharedris runs archive`: a run left out of lists and tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.cli.common_options import Flag
from pipeline.cli.one_run import OneRunOptions, require_run
from pipeline.run_marks import read_marks, write_marks


@dataclass(frozen=True, kw_only=True)
class Options(OneRunOptions):
    """The run, and whether it is shown again."""

    undo: Flag = False
    """Show it again."""


def run(options: Options) -> int:
    """Mark the run."""
    require_run(options.runs, options.run)
    write_marks(options.runs, options.run, replace(read_marks(options.runs, options.run), archived=not options.undo))
    print(f"{options.run} is shown again" if options.undo else f"{options.run} is archived; --undo shows it again")
    return 0
