"""Validation while a run trains: scores over steps, without a trace in the weights, the history or the random numbers.

    RUNS/validation/RUN.parquet    a row per validation and protocol

A validation comes before the checkpoint of its step. So a run that is resumed has the validations up to its checkpoint
in the file, forgets later ones, and repeats them with the same bits.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from pipeline.distributed.process_group import Worker, random_state, restore_random_state, share_buffers, unwrap
from pipeline.evaluation.evaluate import evaluate_split
from pipeline.evaluation.metrics import score
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.split_samples import FixedSample, open_split
from pipeline.job import Job
from pipeline.records import VALIDATION_SCHEMA, RecordError, read_table, validation_path, write_table
from pipeline.training.state import TrainState

log = logging.getLogger(__name__)
_SCORES = ("oiou", "miou", "precision_at_50")


def open_validator(job: Job, worker: Worker, state: TrainState) -> Validator | None:
    """Return what validates the run, or None where nothing is asked for; forgets what no checkpoint holds."""
    path = validation_path(job.runs_root, job.run_id)
    if job.execution.validate_every_epochs is None and job.execution.validate_every_steps is None:
        if worker.is_main_process and state.step == 0:
            path.unlink(missing_ok=True)  # of an earlier training under this id
        return None
    return Validator(job, worker, state)


class Validator:
    """Scores the model on a fixed part of one split every so many epochs or steps; every method is collective."""

    def __init__(self, job: Job, worker: Worker, state: TrainState) -> None:
        self._job, self._worker, self._execution = job, worker, job.execution
        self.split = job.execution.validate_split or job.splits[0]
        self._dataset = FixedSample(open_split(job, self.split, job.own_tokenizer), job.execution.validate_samples)
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
        """Validate at the end of an epoch where it is due, by epochs or by steps."""
        epochs, steps = self._execution.validate_every_epochs, self._execution.validate_every_steps
        if (epochs is not None and state.epoch % epochs == 0) or (steps is not None and state.step % steps == 0):
            self._validate(state)

    def _validate(self, state: TrainState) -> None:
        begun = time.perf_counter()
        samples = score_undisturbed(state, self._dataset, self._job, self._worker)
        if self._worker.is_main_process:
            seconds = time.perf_counter() - begun
            self._rows = [row for row in self._rows if row["step"] != state.step]
            self._rows += _scored(samples, self._job, self.split, state, seconds)
            self._write()

    def _write(self) -> None:
        if self._rows:
            write_table(self._path, pd.DataFrame(self._rows), VALIDATION_SCHEMA)
        else:
            self._path.unlink(missing_ok=True)


def score_undisturbed(state: TrainState, dataset: Any, job: Job, worker: Worker) -> pd.DataFrame:
    """Return the per-sample rows of a data set under the weights as they are; training goes on as if never called."""
    model = unwrap(state.model)
    with _undisturbed(model, worker):
        share_buffers(model, worker)  # running statistics of rank zero, as the evaluation at the end has them
        rows = evaluate_split(
            model,
            dataset,
            evaluation=job.config.evaluation,
            precision=job.config.train.precision,
            worker=worker,
            loader_workers=job.execution.loader_workers,
        )
    return rows.assign(index=range(len(rows)))  # of a part of a split: numbered as `score` asks for


@contextlib.contextmanager
def _undisturbed(model: nn.Module, worker: Worker) -> Iterator[None]:
    """Restore generators, the mode of every module, and every buffer: other ranks' buffers are those of rank zero."""
    random, modes = random_state(worker.device), [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for module, mode in modes:
            module.training = mode
        restore_random_state(random, worker.device)


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
