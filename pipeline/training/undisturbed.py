"""Scores of a model in the middle of its training, which goes on as if it had not been scored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from torch import nn

from pipeline.distributed.process_group import Worker, random_state, restore_random_state, share_buffers
from pipeline.evaluation.evaluate import evaluate_split
from pipeline.job import Job
from pipeline.training.model_with_loss import unwrap
from pipeline.training.state import TrainState


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
