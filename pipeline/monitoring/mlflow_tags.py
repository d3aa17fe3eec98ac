"""The tags that MLflow's own pages read, and those by which the project finds its runs again.

mlflow.user, mlflow.source.name, mlflow.source.type, mlflow.source.git.commit    columns User, Source, Version
sharedris.content_hash, sharedris.sweep                                          how a run is found again
sharedris.folder           below the runs: where the heartbeat of the driver is that works on the run
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.job import Job

PREFIX = "sharedris."
FOLDER = f"{PREFIX}folder"
HEADLINE = "val/oiou"
EXPERIMENT_TAGS: Mapping[str, str] = {
    "mlflow.experimentKind": "custom_model_development",  # the UI opens its view of trainings, not of traces
    "mlflow.experiment.primaryMetric.name": HEADLINE,
    "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
}


def source_tags(git_commit: str | None = None) -> dict[str, str]:
    """Return who started which program of which commit; None for a commit that is not known."""
    tags = {"mlflow.user": user_name(), "mlflow.source.name": _program(), "mlflow.source.type": "LOCAL"}
    return tags | ({"mlflow.source.git.commit": git_commit} if git_commit else {})


def job_tags(job: Job, label: str) -> dict[str, str]:
    """Return the tags of a job's run."""
    commit = str(job.provenance.get("git_commit", "unknown"))
    own = {
        "run_id": job.run_id,
        "label": label,
        "cells": "; ".join(job.cells),
        "variant": job.config.model.variant,
        "seed": str(job.config.seed),
        "recipe": job.recipe,
        "git_commit": commit,
        "state": "waiting",
    }
    tags = {f"{PREFIX}{name}": value for name, value in own.items()}
    tags[FOLDER] = job.state_folder.relative_to(job.runs_root).as_posix()
    tags["mlflow.source.git.dirty"] = str(bool(job.provenance.get("git_dirty", False))).lower()
    return tags | source_tags(None if commit == "unknown" else commit)


def user_name() -> str:
    """Return the name of the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"


def _program() -> str:
    """Return the started program without its arguments, which may hold addresses with passwords."""
    path = Path(sys.argv[0])
    return f"python -m {path.parent.name}" if path.name == "__main__.py" else path.name
