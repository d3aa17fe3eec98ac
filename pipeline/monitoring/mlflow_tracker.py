"""The runs of one MLflow experiment: a parent run per sweep, a child per run, nothing twice.

The driver writes everything through `MlflowClient` with explicit run ids: no worker touches the store, so that sqlite
serves a sweep over many nodes. A run is found again by its content hash and its root of runs (several people may share
a server), and never created a second time.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from pipeline.job import Job
from pipeline.monitoring.mlflow_data import dataset_inputs
from pipeline.monitoring.mlflow_figures import SCORES_TABLE, precision_figure, score_table
from pipeline.monitoring.mlflow_model import log_model
from pipeline.monitoring.mlflow_owner import ROOT, belongs_to, runs_root_id
from pipeline.monitoring.mlflow_params import used_parameters
from pipeline.monitoring.mlflow_record import (
    artifacts_of,
    awaited_headlines,
    final_metrics,
    metric_name,
    metric_splits,
    milliseconds_of,
    without_scores,
)
from pipeline.monitoring.mlflow_store import one_line_errors, open_experiment
from pipeline.monitoring.mlflow_system import SystemMetrics
from pipeline.monitoring.mlflow_tags import PREFIX, job_tags, source_tags
from pipeline.object_store.opened import bring_results
from pipeline.records import (
    HISTORY_SCHEMA,
    RECORD_SCHEMA,
    RecordError,
    history_path,
    read_table,
    record_path,
    samples_path,
)
from pipeline.validation_rows import VALIDATION_SCHEMA, validation_path

log = logging.getLogger(__name__)

_EPOCH_METRICS = (
    "loss",
    "bce",
    "dice",
    "gradient_norm",
    "learning_rate",
    "seconds",
    "data_seconds",
    "world_size",
    "mfu",
)
_VALIDATION_METRICS = ("oiou", "miou")
Outcome = Literal["done", "failed", "interrupted", "incomplete"]
_STATUS: Mapping[Outcome, str] = {
    "done": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "incomplete": "FAILED",
}
_BATCH = 1000
"""What MLflow takes in one call; a run of 200 epochs has more values."""
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
        self._root_id = runs_root_id(runs_root)
        self._system = SystemMetrics(opened.client.tracking_uri)

    @_asks_the_store
    def parent(self, key: str, tags: Mapping[str, str]) -> str:
        """Return the parent run of a sweep, found by its key or created; set to running."""
        tags = {**source_tags(), **tags}
        return self._find_or_create(f"{PREFIX}sweep", key, key, tags, "RUNNING", started=None)

    @_asks_the_store
    def child(self, job: Job, parent: str | None, label: str) -> str:
        """Return the run of a job, found by its content hash or created; scheduled, since it waits for its start.

        A run that is recorded already has the times of its record.
        """
        tags = job_tags(job, label)
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        name = f"{label} s{job.config.seed}"
        started = milliseconds_of(_record(job))[0] if job.done else None
        run_id = self._find_or_create(
            f"{PREFIX}content_hash", job.content_hash, name, tags, "SCHEDULED", started=started
        )
        found = self.client.get_run(run_id)
        if not found.data.params:
            params = [Param(name, value[:6000]) for name, value in used_parameters(job.config).items()]
            self.client.log_batch(run_id, params=params)
        known = {entry.dataset.name for entry in found.inputs.dataset_inputs}
        if not known or not known.issuperset(job.splits):  # of splits that are evaluated later, only theirs
            self.client.log_inputs(run_id, dataset_inputs(job, known))
        return run_id

    @_asks_the_store
    def start(self, run_id: str, splits: Sequence[str] = ()) -> str:
        """Set a run that waited to running, and return its id.

        The main scores of its splits are logged as NaN, which MLflow's pages leave out: the page of a run lists metrics
        in the order in which they were first logged, and the epochs come before the scores.

        MLflow writes a run's start time when it is created, and has no call that changes it. So a run that has only
        waited is replaced by a new one: its duration is then that of the work.
        """
        waited = self.client.get_run(run_id)
        if waited.data.tags.get(f"{PREFIX}started") is None and not waited.data.metrics:
            run_id = self._replace(waited)
        now = pd.Timestamp.now("UTC").isoformat(timespec="seconds")
        tags = {"started": now} if f"{PREFIX}started" not in waited.data.tags else {}
        for name, value in {**tags, "state": "running"}.items():
            self.client.set_tag(run_id, f"{PREFIX}{name}", value)
        self.client.update_run(run_id, "RUNNING")
        now_ms = _milliseconds_now()
        awaited = [name for name in awaited_headlines(splits) if name not in waited.data.metrics]
        self._log_metrics(run_id, [Metric(name, math.nan, now_ms, 0) for name in awaited])
        self._system.start(run_id)
        return run_id

    def _replace(self, waited: Run) -> str:
        """Create a run as the one that waited, then delete that; a driver killed between leaves two, of one hash."""
        name = waited.info.run_name
        tags = {key: value for key, value in waited.data.tags.items() if key != "mlflow.runName"}
        created = self.client.create_run(self.experiment_id, tags=tags, run_name=name)
        run_id = str(created.info.run_id)
        params = [Param(key, value) for key, value in waited.data.params.items()]
        self.client.log_batch(run_id, params=params)
        self.client.log_inputs(run_id, waited.inputs.dataset_inputs)
        self.client.delete_run(waited.info.run_id)
        return run_id

    @_asks_the_store
    def epochs(self, run_id: str, history: pd.DataFrame) -> None:
        """Log the epochs that are not logged yet: a repeated epoch would add a second value at its step."""
        logged = {metric.step for metric in self.client.get_metric_history(run_id, "train/loss")}
        now = _milliseconds_now()
        metrics = [
            Metric(f"train/{name}", float(row[name]), now, int(row["epoch"]))
            for _, row in history.iterrows()
            for name in _EPOCH_METRICS
            if int(row["epoch"]) not in logged and pd.notna(row.get(name))
        ]
        self._log_metrics(run_id, metrics)

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
        self._log_metrics(run_id, metrics)

    def _log_metrics(self, run_id: str, metrics: list[Metric]) -> None:
        for first in range(0, len(metrics), _BATCH):
            self.client.log_batch(run_id, metrics=metrics[first : first + _BATCH])

    @_asks_the_store
    def close(self, job: Job, run_id: str, *, cause: str | None = None) -> None:
        """End a job's run by its outcome: finished with its record, failed with a cause, or interrupted."""
        if job.done:
            self._log_record(job, run_id)
            self._end(run_id, "done", at=self._recorded_end(job, run_id))
        elif cause is not None:
            self.client.set_tag(run_id, f"{PREFIX}cause", cause[:5000])
            self.end(run_id, "failed")
        else:  # the same command finds it again and goes on
            self.end(run_id, "interrupted")

    @_asks_the_store
    def has_finished(self, job: Job) -> bool:
        """Return whether this experiment has the job's run as finished."""
        return self.finished_run(job) is not None

    @_asks_the_store
    def finished_run(self, job: Job) -> str | None:
        """Return the finished run of a job in this experiment, or None."""
        found = self._own_runs(f"{PREFIX}content_hash", job.content_hash, " and attributes.status = 'FINISHED'")
        return str(found[0].info.run_id) if found else None

    def _own_runs(self, tag: str, value: str, more: str = "") -> list[Run]:
        """Return the runs of this root that have the value of a tag."""
        found = self.client.search_runs([self.experiment_id], f"tags.`{tag}` = '{value}'{more}")
        return [run for run in found if belongs_to(run, self._root_id)]

    @_asks_the_store
    def ask(self, question: Callable[[MlflowClient], R]) -> R:
        """Return what a question of another module returns."""
        return question(self.client)

    @_asks_the_store
    def end(self, run_id: str, outcome: Outcome) -> None:
        """End a run."""
        self._end(run_id, outcome)

    def _end(self, run_id: str, outcome: Outcome, at: int | None = None) -> None:
        self._system.finish(run_id)
        self.client.set_tag(run_id, f"{PREFIX}state", outcome)
        self.client.set_terminated(run_id, _STATUS[outcome], end_time=at)

    def _recorded_end(self, job: Job, run_id: str) -> int | None:
        """Return when a run ended whose times are those of its record, or None for one that was followed live."""
        started, ended = milliseconds_of(_record(job))
        return ended if self.client.get_run(run_id).info.start_time == started else None

    def _log_record(self, job: Job, run_id: str) -> None:
        """Log final scores and the run's files, once: the tag is set last, so that a killed driver repeats it.

        The metrics of a split have its name, so those of splits that were evaluated later are added to them.
        """
        run = self.client.get_run(run_id)
        record = _record(job)
        awaited = without_scores(run.data.metrics)
        is_new = any(name not in run.data.metrics or name in awaited for name, _ in final_metrics(record))
        if run.data.tags.get(f"{PREFIX}recorded") == "yes" and not is_new:
            return
        bring_results(job.runs_root, [job.run_id])  # of a run in an object store, workers have put them there
        # Before the epochs: MLflow's pages list metrics in the order in which they came.
        self._log_scores(run, record, log_model(self.client, job, run_id))
        # Curves that nobody watched, or that the store did not take at their time.
        history, validation = history_path(job.runs_root, job.run_id), validation_path(job.runs_root, job.run_id)
        for path, schema, log_rows, what in (
            (history, HISTORY_SCHEMA, self.epochs, "epochs"),
            (validation, VALIDATION_SCHEMA, self.validations, "validations"),
        ):
            if path.exists():
                try:
                    log_rows(run_id, read_table(path, schema))
                except RecordError as error:  # one damaged file must not keep the other runs out of the store
                    log.warning("%s: its %s are not logged: %s", job.run_id, what, error.message)
        self._show_scores(job, run_id, record)
        for path, folder in artifacts_of(job.runs_root, job.run_id, job.splits):
            self.client.log_artifact(run_id, str(path), folder)
        self.client.set_tag(run_id, f"{PREFIX}recorded", "yes")

    def _log_scores(self, run: Run, record: pd.DataFrame, model_id: str | None) -> None:
        """Log the scores that the run has not, each with the model and the data that it belongs to."""
        digests = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
        splits, awaited = metric_splits(record), without_scores(run.data.metrics)
        now = _milliseconds_now()
        metrics = [
            Metric(
                name,
                value,
                now,
                0,
                model_id=model_id,
                dataset_name=splits[name] if splits.get(name, "") in digests else None,
                dataset_digest=digests.get(splits.get(name, "")),
                run_id=run.info.run_id,
            )
            for name, value in final_metrics(record)
            if name not in run.data.metrics or name in awaited
        ]
        self._log_metrics(run.info.run_id, metrics)

    def _show_scores(self, job: Job, run_id: str, record: pd.DataFrame) -> None:
        """Log scores as a table, and a figure per split, once; a table gets the splits that were evaluated later."""
        shown = {entry.path for folder in ("tables", "figures") for entry in self.client.list_artifacts(run_id, folder)}
        table = score_table(record)
        if SCORES_TABLE not in shown:
            self.client.log_table(run_id, table, SCORES_TABLE)
        else:  # `log_table` would append to it; this is the form that it writes
            rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
            self.client.log_dict(run_id, {"columns": list(table), "data": rows}, SCORES_TABLE)
        for split in dict.fromkeys(record["split"]):
            name = f"figures/precision-{split.replace('/', '-')}.png"
            samples = samples_path(job.runs_root, job.run_id, split)
            if name in shown or not samples.exists():
                continue
            try:
                self.client.log_figure(run_id, precision_figure(samples, split), name)
            except RecordError as error:
                log.warning("%s: no figure of %s: %s", job.run_id, split, error.message)

    def _find_or_create(
        self, tag: str, value: str, name: str, tags: Mapping[str, str], status: str, *, started: int | None
    ) -> str:
        found, tags = self._own_runs(tag, value), {**tags, ROOT: self._root_id}
        if found:
            first, *others = sorted(found, key=lambda run: len(run.data.metrics), reverse=True)
            for other in others:  # a driver was killed while it replaced a run that had waited
                if not other.data.metrics:
                    self.client.delete_run(other.info.run_id)
            run_id = str(first.info.run_id)
            self.client.log_batch(run_id, tags=[RunTag(key, text) for key, text in tags.items()])
        else:
            tags = {tag: value, **tags}
            created = self.client.create_run(self.experiment_id, start_time=started, tags=tags, run_name=name)
            run_id = str(created.info.run_id)
        self.client.update_run(run_id, status)
        return run_id


def _record(job: Job) -> pd.DataFrame:
    return read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)


def _milliseconds_now() -> int:
    return int(pd.Timestamp.now("UTC").timestamp() * 1000)
