"""Log a report's files to MLflow, as artifacts of the sweep's parent run. The one door of the reports to MLflow."""

from __future__ import annotations

import logging
import os
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipeline.monitoring.mlflow_store import one_line_errors, remove_stray_folder
from pipeline.monitoring.mlflow_uri import sqlite_file, without_password
from pipeline.records import RecordError

FOLDER = "report"
TABLES = "tables"
TAGS = ("sharedris.sweep", "sweep")  # the tracker's own, and a plain one set by hand
NEWEST = "attributes.start_time DESC"


def publish(out: Path, run: str, uri: str) -> tuple[str, int]:
    """Log page, tables and figures below the artifact folder `report`; return the run's id and how many files.

    Tables are logged once more as MLflow's own tables, below `tables`.

    Args:
        out: the report's folder.
        run: an MLflow run id, `sweep:NAME` for the latest parent run of that sweep, `sweep:` for the latest of any.
        uri: MLflow's tracking address.

    Raises:
        RecordError: when there is no such run.
    """
    store = sqlite_file(uri)
    if store is not None and not store.exists():
        raise RecordError(f"no MLflow store at {store}", "Run a sweep first, or name the address with --mlflow-uri")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    files = sorted(path for path in out.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(out)))
    with one_line_errors(out, uri):
        client = MlflowClient(tracking_uri=uri)
        run_id = _find_run(client, run)
        for path in files:
            below = path.relative_to(out).parent
            client.log_artifact(run_id, str(path), artifact_path=str(Path(FOLDER) / below) if below.name else FOLDER)
        _show_tables(client, run_id, sorted((out / "tables").glob("*.csv")))
    remove_stray_folder(uri)
    return run_id, len(files)


def _find_run(client: MlflowClient, run: str) -> str:
    if run.startswith("sweep:"):
        return _find_sweep(client, run.removeprefix("sweep:"))
    try:
        return str(client.get_run(run).info.run_id)
    except MlflowException as error:
        remedy = "Name a run of `make ui`, or sweep:NAME"
        raise RecordError(f"MLflow run {run!r}: {without_password(str(error).splitlines()[0])}", remedy) from None


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)  # a report that was killed leaves its staging folder


def _show_tables(client: MlflowClient, run_id: str, files: list[Path]) -> None:
    """Log each table once more in the form that MLflow's page shows as a table: `tables/NAME.json`."""
    shown = {entry.path for entry in client.list_artifacts(run_id, TABLES)}
    for path in files:
        name = f"{TABLES}/{path.stem}.json"
        rows = pd.read_csv(path, dtype=object)  # MLflow's call warns of the dtype `str` of pandas 3
        rows = rows.astype(object).where(rows.notna(), "")
        if name in shown:  # `log_table` appends to a table that is there
            client.log_dict(run_id, {"columns": list(rows), "data": rows.to_numpy().tolist()}, name)
        else:
            client.log_table(run_id, rows, name)


def _find_sweep(client: MlflowClient, name: str) -> str:
    """Return the latest parent run of a sweep, of any where no name is given.

    "fpn" fits "fpn tiny toyplus_unc", as the tracker names it.
    """
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for tag in TAGS:
        runs = client.search_runs(
            experiments, filter_string=f"tags.`{tag}` LIKE '{name.replace(chr(39), '')}%'", order_by=[NEWEST]
        )
        for run in runs:
            value = run.data.tags[tag]
            if "mlflow.parentRunId" not in run.data.tags and (
                not name or value == name or value.startswith(f"{name} ")
            ):
                return str(run.info.run_id)
    raise RecordError(f"no MLflow run has the tag {TAGS[0]}={name}", "Run the sweep first, or name a run id")
