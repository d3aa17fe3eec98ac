"""Which samples the batch norms of a model see together in training: `train.batch_norm_samples` and its kin."""

from __future__ import annotations

from torch import nn

from pipeline.config import TrainConfig
from pipeline.data.dataset.step_order import StepGroups
from pipeline.distributed.grouped_batch_norm import group
from pipeline.distributed.process_group import Worker
from pipeline.distributed.sync_batch_norm import synchronize


def with_batch_statistics(model: nn.Module, train: TrainConfig, worker: Worker) -> nn.Module:
    """Return the model with batch norms as the config wants them; collective."""
    if train.batch_norm_samples is not None:
        return group(model, train.batch_norm_samples)
    return synchronize(model, worker) if train.synchronize_batch_norm else model


def step_groups(train: TrainConfig) -> StepGroups | None:
    """Return how a global batch is cut into groups; None where batch norms see a whole forward."""
    if train.batch_norm_samples is None:
        return None
    return StepGroups(global_batch_size=train.global_batch_size, samples=train.batch_norm_samples)


def in_words(train: TrainConfig, *, world_size: int, micro_batch_size: int) -> str:
    """Return the number of samples behind the head's batch statistics in words, for the record."""
    if train.batch_norm_samples is not None:
        return f"over groups of {train.batch_norm_samples} samples, whatever the workers"
    if world_size == 1:
        return f"over {micro_batch_size} samples of 1 worker"
    if train.synchronize_batch_norm:
        return f"over {micro_batch_size * world_size} samples of {world_size} workers, synchronised"
    return f"over {micro_batch_size} samples of each of {world_size} workers, not synchronised"
