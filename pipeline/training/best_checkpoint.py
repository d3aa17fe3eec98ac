"""The weights of the epoch with the best score on one split, kept until the end of the training.

They are part of each checkpoint. So they survive a kill with the state that they belong to, and a run that goes on from
an older checkpoint selects again among the same epochs.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch.distributed as dist
from torch import nn

from pipeline.distributed.process_group import Worker
from pipeline.evaluation.metrics import METRICS, values_of
from pipeline.evaluation.protocols import ORIGINAL
from pipeline.evaluation.split_samples import FixedSample, open_split
from pipeline.job import Job
from pipeline.training.model_with_loss import unwrap
from pipeline.training.state import TrainState
from pipeline.training.undisturbed import score_undisturbed
from sharedris.errors import InputError


class CheckpointSelection:
    """Scores the whole split after every epoch and keeps the better weights; collective."""

    def __init__(self, job: Job, worker: Worker) -> None:
        assert job.config.train.selected_by is not None
        self._job, self._worker = job, worker
        self.split, self.metric = job.config.train.selected_by
        self.step = -1  # at which the split was scored last
        self._dataset = FixedSample(open_split(job, self.split, job.own_tokenizer), None)

    def after_epoch(self, state: TrainState) -> pd.DataFrame:
        """Return the per-sample rows of the split; put the weights into `state.best` where they score better.

        Raises:
            InputError: for a metric that has no score on the split.
        """
        rows = score_undisturbed(state, self._dataset, self._job, self._worker)
        self.step = state.step
        metric = METRICS[self.metric]
        value = values_of([metric], rows, ORIGINAL, self._job.config.model.encoder.image_size)[self.metric]
        if value is None:
            raise InputError(
                f"{self.metric} has no score on {self.split}, which is to select the checkpoint",
                "Choose another metric in train.checkpoint_selection",
            )
        # Every rank has the same rows and decides alike; equal scores keep the first epoch.
        sign = 1.0 if metric.better == "max" else -1.0
        if state.best is None or sign * value > sign * state.best["value"]:
            state.best = {"epoch": state.epoch, "step": state.step, "value": value, "model": self._weights(state)}
        return rows

    def _weights(self, state: TrainState) -> dict[str, Any] | None:
        if not self._worker.is_main_process:
            return None
        return {name: tensor.detach().cpu().clone() for name, tensor in unwrap(state.model).state_dict().items()}


def use_selected(job: Job, worker: Worker, state: TrainState) -> None:
    """Put the selected weights into the model of every rank when training has ended; collective."""
    if job.config.train.selected_by is None or state.best is None:
        return
    model = unwrap(state.model)
    if worker.is_main_process:
        model.load_state_dict(state.best["model"])
    _send_parameters(model, worker)  # buffers are shared before every evaluation


def _send_parameters(model: nn.Module, worker: Worker) -> None:
    if worker.world_size > 1:
        for parameter in model.parameters():
            dist.broadcast(parameter.data, src=0)


def selection_words(job: Job, state: TrainState) -> str | None:
    """Return which epoch's weights a record is of; None for the last ones."""
    if job.config.train.selected_by is None or state.best is None:
        return None
    return f"{job.config.train.checkpoint_selection}, epoch {state.best['epoch']}"
