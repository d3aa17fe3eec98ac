"""A sweep of four micro cells as a program of its own, so that tests can kill its driver.

    python -m tests.integration.micro_sweep PREPARED RUNS CONFIG.json

The last cell cannot be trained: its learning rate makes the loss infinite.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from pipeline.cli.guarded import run_guarded
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.monitoring.console_log import log_to_console
from pipeline.object_store.address import runs_folder
from pipeline.object_store.opened import opened_runs
from sharedris.config import from_dict
from sweeps.plan import SweepPlan, open_marker, plan_sweep
from sweeps.spec import NO_FPN, Change, Row, Sweep, fpn

SWEEP = Sweep(
    name="micro",
    title="four cells for tests",
    tables={
        "T": (
            Row(label="No FPN", changes=(NO_FPN,)),
            Row(label="{1}", changes=(fpn(stages=(1,)),)),
            Row(label="{1, 2}"),
            Row(label="explodes", changes=(Change(part="optim", fields={"learning_rate": 1e30}),)),
        ),
        "U": (Row(label="ours"),),
    },
)


def plan_of(config: RunConfig, prepared: str, runs: str) -> SweepPlan:
    """Return the plan of the four cells."""
    execution = ExecutionConfig(device="cpu", prepared_root=prepared, runs_root=runs)
    provenance = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
    return plan_sweep(SWEEP, lambda seed, _: replace(config, seed=seed), execution, seeds=(0,), provenance=provenance)


def main() -> int:
    """Run what is missing below a folder or a prefix of a store; print whether Ray was imported."""
    prepared, runs, config_path = sys.argv[1:]
    root = runs_folder(runs)
    with opened_runs(root):
        return run_missing(prepared, str(root), config_path)


def run_missing(prepared: str, runs: str, config_path: str) -> int:
    """Run what is missing below a folder."""
    plan = plan_of(from_dict(RunConfig, json.loads(Path(config_path).read_text())), prepared, runs)
    if not plan.in_state("missing") and not open_marker(plan).exists():
        print("nothing to run; ray imported:", "ray" in sys.modules, "torch imported:", "torch" in sys.modules)
        return 0
    from sweeps.run import run_sweep

    with log_to_console():
        return run_sweep(plan, experiment="micro")


if __name__ == "__main__":
    sys.exit(run_guarded(main, name="micro_sweep"))
