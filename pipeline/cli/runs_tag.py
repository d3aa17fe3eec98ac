"""`sharedris runs tag`: words of the user's on a run."""

from __future__ import annotations

from dataclasses import replace

from pipeline.cli.machine_output import add_result
from pipeline.cli.one_run import require_run
from pipeline.cli.runs_tag_options import Options
from pipeline.files import safe_component
from pipeline.run_marks import read_marks, write_marks
from sharedris.errors import InputError


def run(options: Options) -> int:
    """Change the tags and print them."""
    require_run(options.runs, options.run)
    if not options.tags:
        raise InputError("no tag is given", "Write one after the run")
    given = {safe_component(tag, "tag") for tag in options.tags}
    marks = read_marks(options.runs, options.run)
    tags = set(marks.tags) - given if options.remove else set(marks.tags) | given
    write_marks(options.runs, options.run, replace(marks, tags=tuple(sorted(tags))))
    add_result(run_id=options.run, tags=sorted(tags))
    print(f"{options.run}: {', '.join(sorted(tags)) or 'no tags'}")
    return 0
