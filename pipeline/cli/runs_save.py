"""`sharedris runs save`: a checkpoint now, from any node that sees the folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.common_options import CommonOptions, RunsFolder
from pipeline.cli.machine_output import add_result
from pipeline.files import safe_component
from pipeline.lifecycle.heartbeat import has_live_driver
from pipeline.lifecycle.save_request import request_checkpoint
from sharedris.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Which runs."""

    run: tyro.conf.Positional[str | None] = None
    """Id of a run (default: all that are running)."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""


def run(options: Options) -> int:
    """Ask running runs for a checkpoint."""
    wanted = "*" if options.run is None else safe_component(options.run, "run")
    running = [path for path in sorted((options.runs / "state").glob(wanted)) if has_live_driver(path)]
    if not running:
        raise InputError(f"no run is running below {options.runs}", "Nothing to save")
    add_result(asked=[folder.name for folder in running])
    for folder in running:
        request_checkpoint(folder)
        print(f"asked {folder.name} for a checkpoint, which it writes within ten steps")
    return 0
