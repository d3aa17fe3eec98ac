"""The end of a run: export the model, evaluate every split, write per-sample rows, and last of all the record.

The record is the sign that the run is done, so nothing is written after it but clean-up.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import torch
from torch import nn

from pipeline import batch_norm
from pipeline.attention import store_attention
from pipeline.config import RunConfig
from pipeline.cost import measure_cost
from pipeline.cost_memory import resident_peak_mib
from pipeline.damaged import damaged_samples
from pipeline.data.dataset import ReferDataset
from pipeline.data.prepare import load_manifest
from pipeline.distributed import Worker, share_buffers, unwrap
from pipeline.evaluate import evaluate_split
from pipeline.job import Job
from pipeline.leftovers import remove_leftovers
from pipeline.metrics import Scores, score
from pipeline.progress import Progress, ProgressFile
from pipeline.protocol import PROTOCOLS
from pipeline.provenance import hardware
from pipeline.records import RECORD_SCHEMA, SAMPLE_SCHEMA, record_path, samples_path, write_table
from pipeline.starting_weights import own_tokenizer
from pipeline.train_state import TrainState
from pipeline.trainer import left_out, open_training_data
from sharedris.checkpoint import save_model
from sharedris.config import to_dict
from sharedris.model import SharedRis


def finish(job: Job, worker: Worker, state: TrainState) -> None:
    """Evaluate, record and clean up; collective, and repeated from its start if it is interrupted."""
    session_started = time.perf_counter()
    model = unwrap(state.model)
    share_buffers(model, worker)
    if worker.leads:
        manifest = load_manifest(job.execution.prepared_root, job.config.data.train_sets[0])
        save_model(
            job.model_folder,
            model,
            job.config.model,
            own_tokenizer(job) or manifest.tokenizer_path,
            job.config.evaluation.threshold,
            job.run_id,
            job.config.train.precision,
        )
    scored: dict[str, dict[str, Scores]] = {}
    rates: dict[str, float] = {}
    datasets = {split: _open_split(job, split) for split in job.config.data.evaluate_splits}
    progress = EvaluationProgress(job, worker, [len(dataset) for dataset in datasets.values()])
    for split, dataset in datasets.items():
        begun = time.perf_counter()
        rows = _evaluate_one(model, dataset, job, worker, progress)
        rates[split] = len(rows) / (time.perf_counter() - begun)
        scored[split] = score_all_protocols(rows, job.config)
        if worker.leads:
            write_table(samples_path(job.runs_root, job.run_id, split), rows, SAMPLE_SCHEMA)
    if worker.leads:
        _store_attention(model, job, worker)
        seconds = state.seconds + time.perf_counter() - session_started
        common = {**_identity(job), **_measured(job, state, worker, model), "seconds": seconds}
        records = [
            {**common, **_score_columns(split, protocol, scores), "evaluate_samples_per_second": rates[split]}
            for split, by_protocol in scored.items()
            for protocol, scores in by_protocol.items()
        ]
        write_table(record_path(job.runs_root, job.run_id), pd.DataFrame(records), RECORD_SCHEMA)
        remove_leftovers(job)
        ProgressFile(job.state_folder).write(Progress(run_id=job.run_id, phase="done"))
    worker.barrier()


def _open_split(job: Job, split: str) -> ReferDataset:
    encoder = job.config.model.encoder
    return ReferDataset(
        job.execution.prepared_root,
        split,
        image_size=encoder.image_size,
        text_tokens=encoder.text_tokens,
        tokenizer_path=own_tokenizer(job),
    )


def _store_attention(model: nn.Module, job: Job, worker: Worker) -> None:
    """Keep attention maps of a few samples of the first split, for the report's panels."""
    split = job.config.data.evaluate_splits[0]
    dataset = _open_split(job, split)
    if isinstance(model, SharedRis):
        folder = job.runs_root / "attention" / job.run_id
        store_attention(model, dataset, split, folder, threshold=job.config.evaluation.threshold, device=worker.device)


class EvaluationProgress:
    """How far the leading worker is with its shares of all splits together."""

    def __init__(self, job: Job, worker: Worker, samples: list[int]) -> None:
        self._job, self._leads = job, worker.leads
        self._file = ProgressFile(job.state_folder)
        self._total = sum(len(range(worker.rank, count, worker.world)) for count in samples)
        self._before = 0

    def note(self, done: int, share: int) -> None:
        """Take that so many samples of this worker's share of a split are done; splits come one after the other."""
        if self._leads:
            epochs = self._job.config.train.epochs
            reading = Progress(
                run_id=self._job.run_id,
                phase="evaluating",
                epoch=epochs,
                epochs=epochs,
                step=1,
                steps=1,
                evaluated=self._before + done,
                to_evaluate=self._total,
            )
            self._file.write(reading)
        if done == share:
            self._before += share


def _evaluate_one(
    model: nn.Module, dataset: ReferDataset, job: Job, worker: Worker, progress: EvaluationProgress
) -> pd.DataFrame:
    return evaluate_split(
        model,
        dataset,
        evaluation=job.config.evaluation,
        precision=job.config.train.precision,
        worker=worker,
        loader_workers=job.execution.loader_workers,
        on_progress=progress.note,
    )


def score_all_protocols(rows: pd.DataFrame, config: RunConfig) -> dict[str, Scores]:
    """Return the scores of one split under every protocol, by its name."""
    size = config.model.encoder.image_size
    return {name: score(rows, protocol, input_size=size) for name, protocol in PROTOCOLS.items()}


def _identity(job: Job) -> dict[str, Any]:
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


def _measured(job: Job, state: TrainState, worker: Worker, model: nn.Module) -> dict[str, Any]:
    costs = measure_cost(job.config.model)
    seconds_per_step = statistics.median(state.step_seconds) if state.step_seconds else float("nan")
    return {
        "skipped": len(damaged_samples(job.state_folder)),  # of the training set; evaluation skips none
        "million_params": sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        "gmacs": sum(cost.gmacs for cost in costs),
        "cost_json": json.dumps({cost.component: asdict(cost) for cost in costs}),
        "seconds_per_step": seconds_per_step,
        "train_samples_per_second": job.config.train.global_batch_size / seconds_per_step,
        "peak_memory_mib": peak_memory_mib(worker.device),
        "steps": state.step,
        "final_loss": state.history[-1]["loss"],
        "world_size": worker.world,
        "batch_norm": _batch_norm_in_words(job, state),
        "hardware_json": json.dumps(hardware(worker.world)),
        "started": datetime.fromtimestamp(state.started, UTC).isoformat(timespec="milliseconds"),
    }


def _batch_norm_in_words(job: Job, state: TrainState) -> str:
    """Say how batch statistics were taken, for each number of workers and size of a forward that the run has had."""
    had = sorted({(int(row["world_size"]), int(row["micro_batch_size"])) for row in state.history}, reverse=True)
    synchronized = job.config.train.synchronize_batch_norm
    return "; ".join(
        batch_norm.describe(synchronized=synchronized, world=world, micro_batch_size=size) for world, size in had
    )


def _score_columns(split: str, protocol: str, scores: Scores) -> dict[str, Any]:
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
