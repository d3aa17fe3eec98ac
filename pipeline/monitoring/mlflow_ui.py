"""Makes the store of a runs folder ready for `make ui`, and prints its address.

python -m pipeline.monitoring.mlflow_ui RUNS

Artifacts of a moved folder are found again, and runs whose driver was killed no longer count as running.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.monitoring.mlflow_abandoned import end_abandoned
from pipeline.monitoring.mlflow_moved import follow_move
from pipeline.monitoring.mlflow_store import existing_store, one_line_errors
from pipeline.monitoring.mlflow_uri import tracking_uri
from sharedris.errors import InputError


def prepare_store(runs_root: Path) -> None:
    """Bring the sqlite store of a folder up to date; a server is left alone.

    Raises:
        TrackingError: when the store cannot be read or written.
    """
    with one_line_errors(runs_root):
        follow_move(runs_root)
        client = existing_store(runs_root)
        if client is not None:
            ids = [experiment.experiment_id for experiment in client.search_experiments()]
            end_abandoned(client, ids, runs_root)


def main(runs_root: Path) -> None:
    """Print the address; what cannot be brought up to date is one line, and the pages still open."""
    try:
        prepare_store(runs_root)
    except InputError as error:
        print(f"make ui: {error}", file=sys.stderr)
    print(tracking_uri(runs_root))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
