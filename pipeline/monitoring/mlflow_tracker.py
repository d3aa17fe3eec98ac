"""The door to MLflow for runs: one experiment per sweep, a parent run, a child per run, nothing twice.

Everything is written by the driver through `MlflowClient` with explicit run ids: no worker touches the store, so that
sqlite serves a sweep over many nodes. A run is found again by its content hash, never created a second time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pandas as pd
from filelock import FileLock

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# With its own seven a server that is away holds each call for minutes; what it misses is logged later.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from pipeline.job import Job
from pipeline.monitoring.mlflow_uri import tracking_uri, without_password
from pipeline.records import HISTORY_SCHEMA, RECORD_SCHEMA, history_path, read_table, record_path, samples_path
from sharedris.config import to_dict
from sharedris.errors import InputError

_EPOCH_METRICS = ("loss", "bce", "dice", "gradient_norm", "learning_rate", "seconds", "data_seconds", "world_size")
_SCORES = ("oiou", "miou", "samples", "empty_unions", "all_background_miou", "all_image_miou")
_TAG = "sharedris."
log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


class TrackingError(InputError):
    """MLflow's store does not answer, or refuses; nothing of a run depends on it."""


@contextlib.contextmanager
def _one_line(runs_root: Path) -> Iterator[None]:
    """Turn whatever a store raises into one line: a database, server or artifact folder is a plug-in of any make."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        remedy = "Start it, or name another one in MLFLOW_TRACKING_URI"
        raise TrackingError(without_password(f"MLflow ({tracking_uri(runs_root)}) fails: {cause}"), remedy) from error


def try_logging(action: Callable[[], None]) -> bool:
    """Call what logs to MLflow and return whether the store took it; on an error log a warning and go on.

    The records are on disk, so a store that fails loses nothing.
    """
    try:
        action()
    except InputError as error:
        log.warning("%s; records are not touched by that, and the same command logs what is missing", error.message)
        return False
    return True


def _asks_the_store(method: Callable[Concatenate[Tracker, P], R]) -> Callable[Concatenate[Tracker, P], R]:
    @functools.wraps(method)
    def asking(tracker: Tracker, *args: P.args, **kwargs: P.kwargs) -> R:
        with _one_line(tracker.runs_root):
            return method(tracker, *args, **kwargs)

    return asking


def _has_no_trace(record: logging.LogRecord) -> bool:
    return record.exc_info is None


class Tracker:
    """Writes one experiment.

    Args:
        runs_root: root of everything that runs write.
        experiment: its name; created where it is missing, with an absolute artifact location.

    Raises:
        TrackingError: by every method, when the store does not answer.
    """

    def __init__(self, runs_root: Path, experiment: str) -> None:
        self.runs_root = runs_root
        runs_root.mkdir(parents=True, exist_ok=True)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # A page of trace of what it raises too; what it says while it tries again stays.
        logging.getLogger("mlflow.store.db.utils").addFilter(_has_no_trace)
        location = None
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            location = (Path(runs_root).resolve() / "mlartifacts" / experiment).as_uri()
        # Two drivers that make the sqlite store at the same time break each other's migrations.
        with FileLock(runs_root / ".mlflow.lock"), _one_line(runs_root):
            self.client = MlflowClient(tracking_uri(runs_root))
            found = self.client.get_experiment_by_name(experiment)
            self.experiment_id = found.experiment_id if found else self.client.create_experiment(experiment, location)

    @_asks_the_store
    def parent(self, key: str, tags: Mapping[str, str]) -> str:
        """Return the parent run of a sweep, found by its key or created; set to running."""
        return self._find_or_create(f"{_TAG}sweep", key, key, tags)

    @_asks_the_store
    def show_done(self, job: Job, parent: str | None, label: str) -> None:
        """Log a run that is done, unless this experiment has it already as finished."""
        query = f"tags.`{_TAG}content_hash` = '{job.content_hash}' and attributes.status = 'FINISHED'"
        if not self.client.search_runs([self.experiment_id], query, max_results=1):
            self.close(job, self.child(job, parent, label))

    @_asks_the_store
    def child(self, job: Job, parent: str | None, label: str) -> str:
        """Return the run of a job, found by its content hash or created; set to running."""
        tags = {
            f"{_TAG}run_id": job.run_id,
            f"{_TAG}label": label,
            f"{_TAG}cells": "; ".join(job.cells),
            f"{_TAG}variant": job.config.model.variant,
            f"{_TAG}seed": str(job.config.seed),
            f"{_TAG}git_commit": str(job.provenance.get("git_commit", "unknown")),
            f"{_TAG}state": "running",
        }
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        run_id = self._find_or_create(f"{_TAG}content_hash", job.content_hash, f"{label} s{job.config.seed}", tags)
        if not self.client.get_run(run_id).data.params:
            params = [Param(name, str(value)[:6000]) for name, value in _flatten(to_dict(job.config))]
            self.client.log_batch(run_id, params=params)
        return run_id

    @_asks_the_store
    def epochs(self, run_id: str, history: pd.DataFrame) -> None:
        """Log the epochs that are not logged yet: a repeated epoch would add a second value at its step."""
        logged = {metric.step for metric in self.client.get_metric_history(run_id, "train/loss")}
        now = int(pd.Timestamp.now("UTC").timestamp() * 1000)
        metrics = [
            Metric(f"train/{name}", float(row[name]), now, int(row["epoch"]))
            for _, row in history.iterrows()
            for name in _EPOCH_METRICS
            if int(row["epoch"]) not in logged
        ]
        if metrics:
            self.client.log_batch(run_id, metrics=metrics)

    @_asks_the_store
    def close(self, job: Job, run_id: str, *, cause: str | None = None) -> None:
        """End a job's run as what became of it: finished with its record, failed with a cause, or interrupted."""
        if job.done:
            self._log_record(job, run_id)
            self._end(run_id, "FINISHED", "done")
        elif cause is not None:
            self.client.set_tag(run_id, f"{_TAG}cause", cause[:5000])
            self._end(run_id, "FAILED", "failed")
        else:  # the same command finds it again and goes on
            self._end(run_id, "KILLED", "interrupted")

    def _log_record(self, job: Job, run_id: str) -> None:
        """Log final scores per split and protocol, and the run's files as artifacts; once."""
        logged = self.client.get_run(run_id).data
        if logged.tags.get(f"{_TAG}recorded") == "yes":
            return
        path, history = record_path(job.runs_root, job.run_id), history_path(job.runs_root, job.run_id)
        if history.exists():  # epochs that nobody watched, or that the store did not take when they ended
            self.epochs(run_id, read_table(history, HISTORY_SCHEMA))
        now = int(pd.Timestamp.now("UTC").timestamp() * 1000)
        final = _final_metrics(read_table(path, RECORD_SCHEMA))
        metrics = [Metric(name, value, now, 0) for name, value in final if name not in logged.metrics]
        self.client.log_batch(run_id, metrics=metrics)
        samples = [samples_path(job.runs_root, job.run_id, split) for split in job.config.data.evaluate_splits]
        for file in (path, history, *samples):
            if file.exists():
                self.client.log_artifact(run_id, str(file))
        self.client.set_tag(run_id, f"{_TAG}recorded", "yes")

    @_asks_the_store
    def interrupted(self, run_id: str) -> None:
        """End a run as killed."""
        self._end(run_id, "KILLED", "interrupted")

    @_asks_the_store
    def finish_parent(self, run_id: str, *, complete: bool) -> None:
        """End the parent run."""
        self._end(run_id, "FINISHED" if complete else "FAILED", "done" if complete else "incomplete")

    def _end(self, run_id: str, status: str, state: str) -> None:
        self.client.set_tag(run_id, f"{_TAG}state", state)
        self.client.set_terminated(run_id, status)

    def _find_or_create(self, tag: str, value: str, name: str, tags: Mapping[str, str]) -> str:
        query = f"tags.`{tag}` = '{value}'"
        found: list[Run] = self.client.search_runs([self.experiment_id], query, max_results=1)
        if found:
            run_id = str(found[0].info.run_id)
            self.client.log_batch(run_id, tags=[RunTag(key, text) for key, text in tags.items()])
            self.client.update_run(run_id, "RUNNING")
        else:
            created = self.client.create_run(self.experiment_id, tags={tag: value, **tags}, run_name=name)
            run_id = str(created.info.run_id)
        return run_id


def metric_name(text: str) -> str:
    """Return a name that MLflow accepts: it refuses `@` and `+`."""
    return text.replace("+", "plus").replace("@", "_at_")


def _final_metrics(record: pd.DataFrame) -> list[tuple[str, float]]:
    precision = [name for name in record.columns if name.startswith("precision_at_")]
    metrics = [
        (metric_name(f"{row['split']}/{row['protocol']}/{name}"), float(row[name]))
        for _, row in record.iterrows()
        for name in (*_SCORES, *precision)
    ]
    once = ("million_params", "gmacs", "seconds_per_step", "peak_memory_mib", "final_loss", "seconds")
    return metrics + [(f"run/{name}", float(record.iloc[0][name])) for name in once]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
