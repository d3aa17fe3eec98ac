"""`sharedris sweep stop`: end the driver of a running sweep, with everything resumable."""

from __future__ import annotations

from sweeps.cli.planned import planned
from sweeps.cli.stop_options import Options
from sweeps.status import stop


def run(options: Options) -> int:
    """Ask the driver to end, and print what was done."""
    print(stop(planned(options)))
    return 0
