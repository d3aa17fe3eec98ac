"""The prepared sets of a run as MLflow's dataset inputs: name, fingerprint as digest, place, and sizes of the split."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import asdict

from mlflow.entities import Dataset, DatasetInput, InputTag

from pipeline.data.prepared.manifest import Manifest, load_manifest
from pipeline.job import Job

_DIGEST_LETTERS = 36
"""What MLflow's store holds of a digest."""


def dataset_inputs(job: Job, known: Container[str] = ()) -> list[DatasetInput]:
    """Return the splits that a job reads, each with its context; `mlflow.data.get_source` finds their folder.

    Args:
        job: of the run.
        known: splits to leave out, which the store has already.

    Raises:
        InputError: when a set is not prepared.
    """
    splits = {f"{name}/train": "training" for name in job.config.data.train_sets}
    splits |= dict.fromkeys(job.splits, "evaluation")
    splits = {split: context for split, context in splits.items() if split not in known}
    root = job.execution.prepared_root
    manifests = {name: load_manifest(root, name) for name in {split.partition("/")[0] for split in splits}}
    return [
        DatasetInput(
            dataset=_dataset(split, manifests[split.partition("/")[0]], root),
            tags=[InputTag("mlflow.data.context", context)],
        )
        for split, context in splits.items()
    ]


def dataset_digest(manifest: Manifest) -> str:
    """Return the fingerprint of a set, as far as MLflow holds it."""
    return manifest.fingerprint[:_DIGEST_LETTERS]


def _dataset(split: str, manifest: Manifest, root: str) -> Dataset:
    place = f"{root.rstrip('/')}/{manifest.set}"
    scheme = place.partition("://")[0] if "://" in place else "local"
    counts = manifest.splits.get(split.partition("/")[2])
    return Dataset(
        name=split,
        digest=dataset_digest(manifest),
        source_type=scheme,
        source=json.dumps({"uri": place}),
        profile=json.dumps(asdict(counts)) if counts else None,
    )
