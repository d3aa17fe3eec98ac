"""The job of a run that has a record, for splits that are scored after training. Checked before anything is started."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.prepared.fingerprint import file_fingerprint
from pipeline.data.prepared.manifest import Manifest
from pipeline.job import Job, absolute_paths, verified_manifests
from pipeline.pretrained_ids import is_dual
from pipeline.records import RECORD_SCHEMA, RecordError, list_runs, read_table, record_path
from sharedris.config import from_dict
from sharedris.errors import InputError
from sharedris.plugins import loaded_plugins

_MODEL_FILES = ("model.safetensors", "config.json", "tokenizer.model")


def recorded_job(
    run_id: str,
    splits: Iterable[str],
    execution: ExecutionConfig,
    provenance: Mapping[str, Any] | None = None,
    *,
    wants_curves: bool = False,
) -> Job:
    """Return the job that evaluates splits with the exported model of a run, with the identity of its record.

    Raises:
        InputError: for a run without record or model folder, a split that is not prepared or empty, and a set that was
            prepared with another tokenizer than the model's: training on both would be refused too.
        RecordError: for a record that is damaged, or whose config this code does not read.
    """
    execution = absolute_paths(execution)
    root, splits = Path(execution.runs_root), tuple(dict.fromkeys(splits))
    path = record_path(root, run_id)
    if not path.exists():
        known = list_runs(root, archived=True)
        there = f"There are: {', '.join(known[:5])}" if known else "sharedris runs lists them"
        raise InputError(f"no record of {run_id!r} below {root}", there)
    row = read_table(path, RECORD_SCHEMA).iloc[0]
    if row["system"] == "external":
        raise InputError(f"{run_id} is a record of somebody else's masks: it has no model", "Use sharedris score")
    try:
        config = from_dict(RunConfig, json.loads(row["config_json"]))
    except (ValueError, TypeError) as error:
        raise RecordError(f"{path} has a config that this code does not read: {error}", "Load its plugins") from None
    job = Job(
        run_id=run_id,
        content_hash=row["content_hash"],
        recipe=row["recipe"],
        data_fingerprint=row["data_fingerprint"],
        config=config,
        execution=execution,
        cells=tuple(row["cells"]),
        provenance=provenance or {},
        plugins=loaded_plugins(),
        asked_splits=splits,
        wants_curves=wants_curves,
    )
    _require_model(job)
    for manifest in verified_manifests(execution, splits).values():
        _require_tokenizer(job, manifest)
    return job


def _require_model(job: Job) -> None:
    for name in _MODEL_FILES:
        if not (job.model_folder / name).is_file():
            raise InputError(
                f"{job.run_id}: {job.model_folder} has no {name}", "Copy the model folder there, or train the run again"
            )


def _require_tokenizer(job: Job, manifest: Manifest) -> None:
    """Refuse a set of another tokenizer; one of Swin and BERT has a tokenizer that no set is prepared with."""
    path = job.model_folder / "tokenizer.model"
    if not is_dual(job.config) and file_fingerprint(path.read_bytes()) != manifest.tokenizer_fingerprint:
        raise InputError(
            f"{manifest.set} was prepared with another tokenizer than the model of {job.run_id}",
            f"Prepare it with --tokenizer {path}; sharedris evaluate {job.model_folder} prints scores without that",
        )
