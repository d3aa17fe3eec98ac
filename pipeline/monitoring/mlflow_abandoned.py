"""Ends runs in MLflow whose driver was killed: nobody else would, and they would be shown as running for ever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.lifecycle.heartbeat import has_live_driver
from pipeline.monitoring.mlflow_tags import FOLDER, PREFIX

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def end_abandoned(client: MlflowClient, experiments: Sequence[str], runs_root: Path) -> list[str]:
    """Set runs to killed that are open though no driver works on them; return their ids.

    Only for a store below the runs: the drivers of a server's other runs leave no heartbeat files here. The same
    command of the user finds such a run again and continues it.
    """
    opened: list[Run] = [
        run
        for status in ("RUNNING", "SCHEDULED")
        for run in client.search_runs(list(experiments), f"attributes.status = '{status}'")
        if _folder(run) is not None
    ]
    alive = [run for run in opened if has_live_driver(runs_root / str(_folder(run)))]
    # A sweep's own heartbeat file gets old on another host, those of its cells do not.
    parents = {run.data.tags.get("mlflow.parentRunId") for run in alive}
    ended = [run for run in opened if run not in alive and run.info.run_id not in parents]
    for run in ended:
        client.set_tag(run.info.run_id, f"{PREFIX}state", "interrupted")
        client.set_terminated(run.info.run_id, "KILLED", end_time=_last_seen(runs_root / str(_folder(run))))
    return [str(run.info.run_id) for run in ended]


def _folder(run: Run) -> str | None:
    tags = run.data.tags
    of_run = tags.get(f"{PREFIX}run_id")  # what runs of version 0.1 have
    return tags.get(FOLDER) or (f"state/{of_run}" if of_run else None)


def _last_seen(folder: Path) -> int | None:
    """Return when a driver or worker last wrote there, in milliseconds since 1970; None where nothing is left."""
    times = [path.stat().st_mtime for path in (folder / "progress.json", folder / "driver.json") if path.exists()]
    return int(1000 * max(times)) if times else None
