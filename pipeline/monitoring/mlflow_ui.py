"""Makes the store of a runs folder ready for `make ui`, and prints its address.

python -m pipeline.monitoring.mlflow_ui RUNS

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

SERVER = "http://127.0.0.1:5000"
"""Where `make ui` serves the pages."""
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


def main(runs_root: Path) -> None:
    """Print the address, and for people the newest experiments' pages.

    What cannot be brought up to date is one line, and the pages still open.
    """
    try:
        experiments = prepare_store(runs_root)
    except InputError as error:
        print(f"make ui: {error}", file=sys.stderr)
        experiments = []
    for experiment in experiments[:_SHOWN]:
        # MLflow 3.17 opens its pages for language models unless the address asks for the training view.
        page = f"{SERVER}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
        print(f"{experiment.name}: {page}", file=sys.stderr)
    print(tracking_uri(runs_root))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
