"""Logs to MLflow what `sharedris runs rescore` added to the record of a run."""

from __future__ import annotations

from pathlib import Path

from pipeline.evaluation.metrics import record_schema
from pipeline.monitoring.mlflow_owner import belongs_to, runs_root_id
from pipeline.monitoring.mlflow_reachable import short_timeouts
from pipeline.monitoring.mlflow_record import artifacts_of, final_metrics
from pipeline.monitoring.mlflow_store import all_runs, one_line_errors
from pipeline.monitoring.mlflow_tags import PREFIX
from pipeline.records import read_table, record_path


def log_rescored(runs_root: Path, run_id: str) -> None:
    """Log scores that a run of the store lacks, or has under an earlier version of a protocol, and its new files.

    Raises:
        TrackingError: when the store does not answer.
    """
    with one_line_errors(runs_root), short_timeouts():
        client, found = all_runs(runs_root, f"tags.`{PREFIX}run_id` = '{run_id}' and tags.`{PREFIX}recorded` = 'yes'")
        root_id = runs_root_id(runs_root)
        found = [run for run in found if belongs_to(run, root_id)]
        if not found:
            return
        record = read_table(record_path(runs_root, run_id), record_schema())
        for run in found:
            new = [(name, value) for name, value in final_metrics(record) if run.data.metrics.get(name) != value]
            for name, value in new:
                client.log_metric(run.info.run_id, name, value, step=0)
            if new:
                for path, folder in artifacts_of(runs_root, run_id, record["split"].unique()):
                    client.log_artifact(run.info.run_id, str(path), folder)
