"""The runs of one MLflow experiment: a parent run per sweep, a child per run, nothing twice.

The driver writes everything through `MlflowClient` with explicit run ids: no worker touches the store, so that sqlite
serves a sweep over many nodes. A run is found again by its content hash and never created a second time.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import pandas as pd
from mlflow.entities import Metric, Param, Run, RunTag

from pipeline.job import Job
from pipeline.monitoring.mlflow_record import artifacts_of, final_metrics, metric_name
from pipeline.monitoring.mlflow_store import one_line_errors, open_experiment
from pipeline.records import HISTORY_SCHEMA, RECORD_SCHEMA, RecordError, history_path, read_table, record_path
from sharedris.config import to_dict

log = logging.getLogger(__name__)

_EPOCH_METRICS = ("loss", "bce", "dice", "gradient_norm", "learning_rate", "seconds", "data_seconds", "world_size")
_VALIDATION_METRICS = ("oiou", "miou")
_TAG = "sharedris."
Outcome = Literal["done", "failed", "interrupted", "incomplete"]
_STATUS: Mapping[Outcome, str] = {
    "done": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "incomplete": "FAILED",
}
P = ParamSpec("P")
R = TypeVar("R")


def _asks_the_store(method: Callable[Concatenate[Tracker, P], R]) -> Callable[Concatenate[Tracker, P], R]:
    @functools.wraps(method)
    def asking(tracker: Tracker, *args: P.args, **kwargs: P.kwargs) -> R:
        with one_line_errors(tracker.runs_root):
            return method(tracker, *args, **kwargs)

    return asking


class Tracker:
    """Writes one experiment.

    Args:
        runs_root: root of everything that runs write.
        experiment: its name; created where it is missing.

    Raises:
        TrackingError: by every method, when the store does not answer.
    """

    def __init__(self, runs_root: Path, experiment: str) -> None:
        self.runs_root = runs_root
        runs_root.mkdir(parents=True, exist_ok=True)
        opened = open_experiment(runs_root, experiment)
        self.client, self.experiment_id = opened.client, opened.identity

    @_asks_the_store
    def parent(self, key: str, tags: Mapping[str, str]) -> str:
        """Return the parent run of a sweep, found by its key or created; set to running."""
        return self._find_or_create(f"{_TAG}sweep", key, key, tags, "RUNNING")

    @_asks_the_store
    def child(self, job: Job, parent: str | None, label: str) -> str:
        """Return the run of a job, found by its content hash or created; scheduled, since it waits for its start."""
        tags = {
            f"{_TAG}run_id": job.run_id,
            f"{_TAG}label": label,
            f"{_TAG}cells": "; ".join(job.cells),
            f"{_TAG}variant": job.config.model.variant,
            f"{_TAG}seed": str(job.config.seed),
            f"{_TAG}git_commit": str(job.provenance.get("git_commit", "unknown")),
            f"{_TAG}state": "waiting",
        }
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        name = f"{label} s{job.config.seed}"
        run_id = self._find_or_create(f"{_TAG}content_hash", job.content_hash, name, tags, "SCHEDULED")
        if not self.client.get_run(run_id).data.params:
            params = [Param(name, str(value)[:6000]) for name, value in _flatten(to_dict(job.config))]
            self.client.log_batch(run_id, params=params)
        return run_id

    @_asks_the_store
    def start(self, run_id: str) -> None:
        """Set a run that waited to running."""
        self.client.set_tag(run_id, f"{_TAG}state", "running")
        self.client.update_run(run_id, "RUNNING")

    @_asks_the_store
    def epochs(self, run_id: str, history: pd.DataFrame) -> None:
        """Log the epochs that are not logged yet: a repeated epoch would add a second value at its step."""
        logged = {metric.step for metric in self.client.get_metric_history(run_id, "train/loss")}
        now = _milliseconds_now()
        metrics = [
            Metric(f"train/{name}", float(row[name]), now, int(row["epoch"]))
            for _, row in history.iterrows()
            for name in _EPOCH_METRICS
            if int(row["epoch"]) not in logged and pd.notna(row[name])
        ]
        if metrics:
            self.client.log_batch(run_id, metrics=metrics)

    @_asks_the_store
    def validations(self, run_id: str, rows: pd.DataFrame) -> None:
        """Log the validations that are not logged yet, by optimizer step; the prefix keeps them from final scores."""
        metrics, now = [], _milliseconds_now()
        for (split, protocol), of_pair in rows.groupby(["split", "protocol"]):
            for name in _VALIDATION_METRICS:
                key = metric_name(f"validation/{split}/{protocol}/{name}")
                logged = {metric.step for metric in self.client.get_metric_history(run_id, key)}
                new = of_pair[~of_pair["step"].isin(logged)]
                metrics += [Metric(key, float(row[name]), now, int(row["step"])) for _, row in new.iterrows()]
        if metrics:
            self.client.log_batch(run_id, metrics=metrics)

    @_asks_the_store
    def close(self, job: Job, run_id: str, *, cause: str | None = None) -> None:
        """End a job's run by its outcome: finished with its record, failed with a cause, or interrupted."""
        if job.done:
            self._log_record(job, run_id)
            self.end(run_id, "done")
        elif cause is not None:
            self.client.set_tag(run_id, f"{_TAG}cause", cause[:5000])
            self.end(run_id, "failed")
        else:  # the same command finds it again and goes on
            self.end(run_id, "interrupted")

    @_asks_the_store
    def has_finished(self, job: Job) -> bool:
        """Return whether this experiment has the job's run as finished."""
        query = f"tags.`{_TAG}content_hash` = '{job.content_hash}' and attributes.status = 'FINISHED'"
        return bool(self.client.search_runs([self.experiment_id], query, max_results=1))

    @_asks_the_store
    def end(self, run_id: str, outcome: Outcome) -> None:
        """End a run."""
        self.client.set_tag(run_id, f"{_TAG}state", outcome)
        self.client.set_terminated(run_id, _STATUS[outcome])

    def _log_record(self, job: Job, run_id: str) -> None:
        """Log final scores and the run's files, once: the tag is set last, so that a killed driver repeats it.

        The metrics of a split have its name, so those of splits that were evaluated later are added to them.
        """
        logged = self.client.get_run(run_id).data
        record = read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)
        now = _milliseconds_now()
        metrics = [Metric(name, value, now, 0) for name, value in final_metrics(record) if name not in logged.metrics]
        if logged.tags.get(f"{_TAG}recorded") == "yes" and not metrics:
            return
        history = history_path(job.runs_root, job.run_id)
        if history.exists():  # epochs that nobody watched, or that the store did not take when they ended
            try:
                self.epochs(run_id, read_table(history, HISTORY_SCHEMA))
            except RecordError as error:  # one damaged file must not keep the other runs out of the store
                log.warning("%s: its epochs are not logged: %s", job.run_id, error.message)
        self.client.log_batch(run_id, metrics=metrics)
        for path, folder in artifacts_of(job):
            self.client.log_artifact(run_id, str(path), folder)
        self.client.set_tag(run_id, f"{_TAG}recorded", "yes")

    def _find_or_create(self, tag: str, value: str, name: str, tags: Mapping[str, str], status: str) -> str:
        found: list[Run] = self.client.search_runs([self.experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        if found:
            run_id = str(found[0].info.run_id)
            self.client.log_batch(run_id, tags=[RunTag(key, text) for key, text in tags.items()])
        else:
            created = self.client.create_run(self.experiment_id, tags={tag: value, **tags}, run_name=name)
            run_id = str(created.info.run_id)
        self.client.update_run(run_id, status)
        return run_id


def _milliseconds_now() -> int:
    return int(pd.Timestamp.now("UTC").timestamp() * 1000)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
