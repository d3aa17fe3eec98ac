"""The columns of a run's record: its identity, what was measured, and its scores."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from pipeline.cost.flops import measure_cost
from pipeline.cost.peak_memory import resident_peak_mib
from pipeline.data.dataset.unreadable import unreadable_samples
from pipeline.distributed import sync_batch_norm
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.metrics import Scores
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.job import Job
from pipeline.provenance import hardware
from pipeline.training.state import TrainState
from pipeline.training.trainer import left_out, open_training_data
from sharedris.config import to_dict


def identity_columns(job: Job) -> dict[str, Any]:
    config = job.config
    return {
        "run_id": job.run_id,
        "content_hash": job.content_hash,
        "recipe": job.recipe,
        "variant": config.model.variant,
        "cells": list(job.cells),
        "scale": config.model.scale,
        "seed": config.seed,
        "train_sets": list(config.data.train_sets),
        "left_out_json": json.dumps(left_out(open_training_data(job))),
        "config_json": json.dumps(to_dict(config), sort_keys=True),
        "data_fingerprint": job.data_fingerprint,
        "epochs": config.train.epochs,
        **job.provenance,
    }


def measured_columns(job: Job, state: TrainState, worker: Worker, model: nn.Module) -> dict[str, Any]:
    costs = measure_cost(job.config.model)
    seconds_per_step = statistics.median(state.step_seconds) if state.step_seconds else float("nan")
    return {
        "skipped": len(unreadable_samples(job.state_folder)),  # of the training set; evaluation skips none
        "million_params": sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        "gmacs": sum(cost.gmacs for cost in costs),
        "cost_json": json.dumps({cost.component: asdict(cost) for cost in costs}),
        "seconds_per_step": seconds_per_step,
        "train_samples_per_second": job.config.train.global_batch_size / seconds_per_step,
        "peak_memory_mib": peak_memory_mib(worker.device),
        "steps": state.step,
        "final_loss": state.history[-1]["loss"],
        "world_size": worker.world_size,
        "batch_norm": _batch_norm_in_words(job, state),
        "hardware_json": json.dumps(hardware(worker.world_size)),
        "started": datetime.fromtimestamp(state.started, UTC).isoformat(timespec="milliseconds"),
    }


def _batch_norm_in_words(job: Job, state: TrainState) -> str:
    """Say how batch statistics were taken, for each number of workers and size of a forward that the run has had."""
    had = sorted({(int(row["world_size"]), int(row["micro_batch_size"])) for row in state.history}, reverse=True)
    synchronized = job.config.train.synchronize_batch_norm
    return "; ".join(
        sync_batch_norm.describe(synchronized=synchronized, world_size=world_size, micro_batch_size=size)
        for world_size, size in had
    )


def score_columns(split: str, protocol: str, scores: Scores) -> dict[str, Any]:
    values = asdict(scores)
    precision = values.pop("precision")
    levels = {f"precision_at_{round(100 * level)}": share for level, share in precision.items()}
    version = PROTOCOLS[protocol].version
    return {"split": split, "protocol": protocol, "protocol_version": version, **values, **levels}


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory of this process in MiB: on the GPU where there is one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resident_peak_mib()
