"""Log a report's files to MLflow, as artifacts of the sweep's parent run. The one door of the reports to MLflow."""

from __future__ import annotations

from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipeline.records import RecordError

FOLDER = "report"


def publish(out: Path, run: str, uri: str) -> tuple[str, int]:
    """Log page, tables and figures below the artifact folder `report`; return the run's id and how many files.

    Args:
        out: the report's folder.
        run: an MLflow run id, or `sweep:NAME` for the latest parent run with the tag `sweep` = NAME.
        uri: MLflow's tracking address.

    Raises:
        RecordError: when there is no such run.
    """
    client = MlflowClient(tracking_uri=uri)
    try:
        run_id = _find_sweep(client, run.removeprefix("sweep:")) if run.startswith("sweep:") else run
        client.get_run(run_id)
    except MlflowException as error:
        remedy = "Name a run of `make ui`, or sweep:NAME"
        raise RecordError(f"MLflow run {run!r}: {str(error).splitlines()[0]}", remedy) from None
    files = sorted(path for path in out.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in files:
        below = path.relative_to(out).parent
        client.log_artifact(run_id, str(path), artifact_path=str(Path(FOLDER) / below) if below.name else FOLDER)
    return run_id, len(files)


def _find_sweep(client: MlflowClient, name: str) -> str:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    quoted = name.replace("'", "")
    found = client.search_runs(
        experiments, filter_string=f"tags.sweep = '{quoted}'", order_by=["attributes.start_time DESC"]
    )
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    if not parents:
        raise RecordError(f"no MLflow run has the tag sweep={name}", "Run the sweep first, or name a run id")
    return str(parents[0].info.run_id)
