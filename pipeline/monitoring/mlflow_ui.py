"""Makes the store of a runs folder ready for `sharedris ui`.

Artifacts of a moved folder are found again, and runs whose driver was killed no longer count as running.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlflow.entities import Experiment

from pipeline.monitoring.mlflow_abandoned import end_abandoned
from pipeline.monitoring.mlflow_moved import follow_move
from pipeline.monitoring.mlflow_store import existing_store, one_line_errors
from pipeline.monitoring.mlflow_uri import tracking_uri
from sharedris.errors import InputError

_SHOWN = 5


def prepare_store(runs_root: Path) -> list[Experiment]:
    """Bring the sqlite store of a folder up to date and return its experiments, the newest first; none of a server.

    Raises:
        TrackingError: when the store cannot be read or written.
    """
    with one_line_errors(runs_root):
        follow_move(runs_root)
        client = existing_store(runs_root)
        if client is None:
            return []
        experiments: list[Experiment] = client.search_experiments(order_by=["last_update_time DESC"])
        end_abandoned(client, [experiment.experiment_id for experiment in experiments], runs_root)
        return [experiment for experiment in experiments if experiment.name != "Default"]


def opened_store(runs_root: Path, server: str) -> str:
    """Return the store's address for MLflow, and print for people the newest experiments' pages on a server.

    What cannot be brought up to date is one line, and the pages still open.
    """
    try:
        experiments = prepare_store(runs_root)
    except InputError as error:
        print(f"sharedris ui: {error}", file=sys.stderr)
        experiments = []
    for experiment in experiments[:_SHOWN]:
        # MLflow 3.17 opens its pages for language models unless the address asks for the training view.
        page = f"{server}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
        print(f"{experiment.name}: {page}", file=sys.stderr)
    return tracking_uri(runs_root)
