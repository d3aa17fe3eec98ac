"""Validation while a run trains: scores over steps, without a trace in the weights, the history or the random numbers.

    RUNS/validation/RUN.parquet    a row per validation and protocol

A validation comes before the checkpoint of its step. So a run that is resumed has the validations up to its checkpoint
in the file, forgets later ones, and repeats them with the same bits.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.distributed.process_group import Worker
from pipeline.evaluation.metrics import score
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.split_samples import FixedSample, open_split
from pipeline.job import Job
from pipeline.records import RecordError, read_table, write_table
from pipeline.training.best_checkpoint import CheckpointSelection
from pipeline.training.state import TrainState
from pipeline.training.undisturbed import score_undisturbed
from pipeline.validation_rows import VALIDATION_SCHEMA, validation_path

log = logging.getLogger(__name__)
_SCORES = ("oiou", "miou", "precision_at_50")


def open_validator(job: Job, worker: Worker, state: TrainState) -> Validator | None:
    """Return what validates the run, or None where nothing is asked for; forgets what no checkpoint holds."""
    path = validation_path(job.runs_root, job.run_id)
    execution = job.execution
    asked = execution.validate_every_epochs is not None or execution.validate_every_steps is not None
    if not asked and job.config.train.selected_by is None:
        if worker.is_main_process and state.step == 0:
            path.unlink(missing_ok=True)  # of an earlier training under this id
        return None
    return Validator(job, worker, state)


class Validator:
    """Scores the model on a fixed part of one split every so many epochs or steps; every method is collective.

    Where the config selects a checkpoint by a split, the whole split is scored after every epoch, whatever is asked.
    """

    def __init__(self, job: Job, worker: Worker, state: TrainState) -> None:
        self._job, self._worker, self._execution = job, worker, job.execution
        self.split = job.execution.validate_split or job.splits[0]
        self._dataset = FixedSample(open_split(job, self.split, job.own_tokenizer), job.execution.validate_samples)
        self._selection: CheckpointSelection | None = None
        if job.config.train.selected_by is not None:
            self._selection = CheckpointSelection(job, worker)
        self._path = validation_path(job.runs_root, job.run_id)
        self._rows: list[dict[str, Any]] = []
        if worker.is_main_process:
            self._rows = _rows_up_to(state.step, self._path)
            self._write()

    def after_step(self, state: TrainState) -> None:
        """Validate within an epoch where it is due."""
        every = self._execution.validate_every_steps
        if every is not None and state.step % every == 0:
            self._validate(state)

    def after_epoch(self, state: TrainState) -> None:
        """Validate at the end of an epoch where it is due, by epochs or by steps; select before."""
        if self._selection is not None:
            begun = time.perf_counter()
            rows = self._selection.after_epoch(state)
            self._keep(rows, self._selection.split, state, begun)
        epochs, steps = self._execution.validate_every_epochs, self._execution.validate_every_steps
        if (epochs is not None and state.epoch % epochs == 0) or (steps is not None and state.step % steps == 0):
            self._validate(state)

    def _validate(self, state: TrainState) -> None:
        if self._selection is not None and (self._selection.split, self._selection.step) == (self.split, state.step):
            return  # the whole split has just been scored
        begun = time.perf_counter()
        samples = score_undisturbed(state, self._dataset, self._job, self._worker)
        self._keep(samples, self.split, state, begun)

    def _keep(self, samples: pd.DataFrame, split: str, state: TrainState, begun: float) -> None:
        """Write the scores of one validation in place of those of the same split and step."""
        if self._worker.is_main_process:
            seconds = time.perf_counter() - begun
            self._rows = [row for row in self._rows if (row["split"], row["step"]) != (split, state.step)]
            self._rows += _scored(samples, self._job, split, state, seconds)
            self._write()

    def _write(self) -> None:
        if self._rows:
            write_table(self._path, pd.DataFrame(self._rows), VALIDATION_SCHEMA)
        else:
            self._path.unlink(missing_ok=True)


def _scored(rows: pd.DataFrame, job: Job, split: str, state: TrainState, seconds: float) -> list[dict[str, Any]]:
    size = job.config.model.encoder.image_size
    place = {"split": split, "step": state.step, "epoch": state.epoch, "samples": len(rows), "seconds": seconds}
    return [
        {**place, "protocol": name, **{each: score(rows, rule, input_size=size).values[each] for each in _SCORES}}
        for name, rule in PROTOCOLS.items()
    ]


def _rows_up_to(step: int, path: Path) -> list[dict[str, Any]]:
    """Return the rows that the checkpoint of a step knows; of a damaged file none, which costs a part of the curve."""
    if not path.exists():
        return []
    try:
        rows = read_table(path, VALIDATION_SCHEMA).drop(columns="schema_version")
    except RecordError as error:
        log.warning("%s: its validations so far are lost", error.message)
        return []
    return [{str(name): value for name, value in row.items()} for row in rows[rows["step"] <= step].to_dict("records")]
