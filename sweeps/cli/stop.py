"""`sharedris sweep stop`: end the driver of a running sweep, with everything resumable."""

from __future__ import annotations

from pipeline.cli.machine_output import add_result
from sweeps.cli.planned import planned
from sweeps.cli.stop_options import Options
from sweeps.status import stop


def run(options: Options) -> int:
    """Ask the driver to end, and print what was done."""
    answer = stop(planned(options))
    add_result(answer=answer)
    print(answer)
    return 0
