"""The end of a sweep in MLflow's model registry: its best model as a version with the alias `best`."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.job import Job
from pipeline.monitoring.headline import read_scores
from pipeline.monitoring.mlflow_model import log_model
from pipeline.monitoring.mlflow_tracker import Tracker
from sharedris.errors import InputError

ALIAS = "best"


def best_job(jobs: Sequence[Job]) -> Job:
    """Return the job with the highest oIoU on its first split (protocol `original`), the first of equal ones.

    Raises:
        InputError: when none is done, or their first splits are different.
    """
    done = [job for job in jobs if job.done]
    if not done:
        raise InputError("no cell of the sweep is done, so no model is registered", "Run the sweep first")
    scores = [read_scores(job.runs_root, job.run_id).iloc[0] for job in done]
    splits = {str(score["split"]) for score in scores}
    if len(splits) > 1:
        raise InputError(
            f"cells are scored on {', '.join(sorted(splits))}, so none is the best", "Register one by hand in `make ui`"
        )
    return max(zip(done, scores, strict=True), key=lambda pair: float(pair[1]["oiou"]))[0]


def register_best(tracker: Tracker, jobs: Sequence[Job], name: str) -> ModelVersion:
    """Register the model of the best job, once, and let the alias `best` name its version.

    Raises:
        InputError: when there is no best job or its model is not in MLflow, or the registry does not answer.
    """
    job = best_job(jobs)
    return tracker.ask(lambda client: _register(client, tracker, job, name))


def _register(client: MlflowClient, tracker: Tracker, job: Job, name: str) -> ModelVersion:
    run_id = tracker.finished_run(job)
    model_id = None if run_id is None else log_model(client, job, run_id)
    if model_id is None:
        raise InputError(f"the model of {job.run_id} is not in MLflow", "Train it again: sharedris sweep run --force")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {"sharedris.run_id": job.run_id}
    # Not models:/ID, which MLflow 3.17 looks for in the store of the process and not in that of the client.
    place = client.get_logged_model(model_id).artifact_location
    known = [version for version in client.search_model_versions(f"name = '{name}'") if version.source == place]
    version = (
        known[0]
        if known
        else client.create_model_version(name, source=place, run_id=run_id, model_id=model_id, tags=tags)
    )
    client.set_registered_model_alias(name, ALIAS, version.version)
    return version
