"""The LoggedModel of a run: weights, config and tokenizer with a signature, which `mlflow.pyfunc` loads.

`MLmodel` names the module `sharedris.pyfunc` of the installed project. No object is pickled and no code is stored, so
loading a model runs nothing that lies in the store.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from pipeline.job import Job
from pipeline.monitoring.mlflow_params import used_parameters
from pipeline.monitoring.mlflow_tags import PREFIX

log = logging.getLogger(__name__)
LOADER = "sharedris.pyfunc"
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image"), ColSpec(DataType.string, "sentence")]),
    outputs=Schema([ColSpec(DataType.binary, "mask_png"), ColSpec(DataType.double, "area_ratio")]),
)
_DATA = "data"
_OLD_SERVER = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED")


def log_model(client: MlflowClient, job: Job, run_id: str) -> str | None:
    """Log the exported model of a finished run, once, and return its id.

    Returns:
        None where the exported model was removed, or the server is older than MLflow 3 and has no such models.
    """
    if not job.model_folder.is_dir():
        log.warning("%s: no model is logged to MLflow: %s is gone", job.run_id, job.model_folder)
        return None
    try:
        model = _find_or_create(client, job, run_id)
        if model.status != LoggedModelStatus.READY:
            _place_files(client, job, model)
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    except MlflowException as error:
        if error.error_code not in _OLD_SERVER:
            raise
        log.warning("%s: no model is logged: this MLflow server has no logged models (MLflow 3 has)", job.run_id)
        return None
    return str(model.model_id)


def _find_or_create(client: MlflowClient, job: Job, run_id: str) -> LoggedModel:
    """Return the run's model: a killed driver may have left one that is not ready."""
    run = client.get_run(run_id)
    known = run.outputs.model_outputs if run.outputs else []
    if known:
        return client.get_logged_model(known[0].model_id)
    model = client.create_logged_model(
        run.info.experiment_id,
        name="".join("-" if letter in "/:.%\"'" else letter for letter in job.run_id),
        source_run_id=run_id,
        params=used_parameters(job.config),
        tags={f"{PREFIX}run_id": job.run_id, f"{PREFIX}variant": job.config.model.variant},
        model_type="referring-image-segmentation",
    )
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model


def _place_files(client: MlflowClient, job: Job, model: LoggedModel) -> None:
    description = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        signature=SIGNATURE,
        model_id=model.model_id,
        model_uuid=model.model_id,
        metadata={"run_id": job.run_id, "versions": json.loads(job.provenance.get("versions_json", "{}"))},
    )
    # What `mlflow.pyfunc.add_to_model` does; importing that module warns of MLflow's own types.
    description.add_flavor(
        "python_function", loader_module=LOADER, data=_DATA, python_version=platform.python_version()
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "MLmodel"
        description.save(str(path))
        client.log_model_artifact(model.model_id, str(path))
    if not _link_files(job, model):
        client.log_model_artifacts(model.model_id, str(job.model_folder), _DATA)


def _link_files(job: Job, model: LoggedModel) -> bool:
    """Put hard links of the exported model into a store below the runs, which needs no space; False where none can be.

    Exported files are never changed in place, and a link keeps its content when the export is removed.
    """
    address = urlsplit(model.artifact_location)
    target = Path(unquote(address.path)) / _DATA
    if address.scheme != "file" or not target.is_relative_to(job.runs_root):
        return False
    shutil.rmtree(target, ignore_errors=True)  # of a killed driver
    try:
        shutil.copytree(job.model_folder, target, copy_function=os.link)
    except OSError:  # a file system without hard links
        shutil.rmtree(target, ignore_errors=True)
        return False
    return True
