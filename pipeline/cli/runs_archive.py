"""`sharedris runs archive`: a run left out of lists and tables."""

from __future__ import annotations

from dataclasses import replace

from pipeline.cli.machine_output import add_result
from pipeline.cli.one_run import require_run
from pipeline.cli.runs_archive_options import Options
from pipeline.run_marks import read_marks, write_marks


def run(options: Options) -> int:
    """Mark the run."""
    require_run(options.runs, options.run)
    write_marks(options.runs, options.run, replace(read_marks(options.runs, options.run), archived=not options.undo))
    add_result(run_id=options.run, archived=not options.undo)
    print(f"{options.run} is shown again" if options.undo else f"{options.run} is archived; --undo shows it again")
    return 0
