"""The record of a run: its identity, what was measured, and its scores, put together in one place."""

from __future__ import annotations

import json
import logging
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import torch
from torch import nn

from pipeline.cost.flops import ComponentCost, measure_cost
from pipeline.cost.peak_memory import resident_peak_mib
from pipeline.cost.utilization import model_flops_utilization
from pipeline.data.dataset.unreadable import unreadable_samples
from pipeline.distributed.batch_statistics import in_words
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.metrics import BASE_METRICS, METRICS, Scores, added_metrics
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.identity import canonical
from pipeline.job import Job
from pipeline.precision import numerics_in_words
from pipeline.provenance import hardware
from pipeline.records import RunRecord
from pipeline.training.best_checkpoint import selection_words
from pipeline.training.state import TrainState
from sharedris.plugins import plugin_hashes

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScoredSplit:
    """One evaluated split of a run."""

    by_protocol: dict[str, Scores]
    samples_per_second: float
    cut_sentences: int = 0
    public_scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Evaluator of another paper whose decoder or system the model has -> its scores."""


def build_records(
    job: Job, state: TrainState, worker: Worker, model: nn.Module, scored: dict[str, ScoredSplit], *, seconds: float
) -> list[RunRecord]:
    """Return the rows of a run's record, one for each split and protocol.

    Args:
        state: of the end of training.
        worker: rank zero.
        model: trained, not wrapped.
        scored: split in full -> its scores.
        seconds: of all sessions, evaluation included.
    """
    config, costs = job.config, _costs(job)
    return [
        RunRecord(
            run_id=job.run_id,
            content_hash=job.content_hash,
            recipe=job.recipe,
            variant=config.model.variant,
            cells=job.cells,
            scale=config.model.scale,
            seed=config.seed,
            train_sets=config.data.train_sets,
            left_out_json=json.dumps(state.left_out),
            split=split,
            protocol=name,
            protocol_version=PROTOCOLS[name].version,
            skipped=len(unreadable_samples(job.state_folder)),  # of the training set; evaluation skips none
            skipped_refs_json=json.dumps(job.skipped_refs, sort_keys=True) if job.skipped_refs else None,
            cut_sentences=of_split.cut_sentences or None,
            public_scores_json=json.dumps(of_split.public_scores) if of_split.public_scores else None,
            samples=scores.samples,
            images=scores.images,
            empty_unions=scores.empty_unions,
            **_base_scores(scores),
            million_params=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
            cost_json=None if costs is None else json.dumps({cost.component: asdict(cost) for cost in costs}),
            **_training_speed(job, state, worker, costs),
            evaluate_samples_per_second=of_split.samples_per_second,
            peak_memory_mib=peak_memory_mib(worker.device),
            epochs=config.train.epochs,
            steps=state.step,
            final_loss=state.history[-1]["loss"],
            world_size=worker.world_size,
            batch_norm=_batch_norm_in_words(job, state),
            config_json=json.dumps(canonical(config), sort_keys=True),
            data_fingerprint=job.data_fingerprint,
            hardware_json=json.dumps(hardware(worker.world_size, worker.gpus) | numerics_in_words()),
            started=datetime.fromtimestamp(state.started, UTC).isoformat(timespec="milliseconds"),
            seconds=seconds,
            checkpoint_selection=selection_words(job, state),
            plugins_json=json.dumps(plugin_hashes(job.plugins)) if job.plugins else None,
            **job.provenance,
        )
        for split, of_split in scored.items()
        for name, scores in of_split.by_protocol.items()
    ]


def _base_scores(scores: Scores) -> dict[str, Any]:
    return {name: scores.values[name] for name in METRICS if name in BASE_METRICS}


def record_rows(records: list[RunRecord], scored: dict[str, ScoredSplit]) -> pd.DataFrame:
    """Return records as rows of `record_schema`, with the scores of added metrics after the base columns."""
    added = [metric.name for metric in added_metrics()]
    rows = pd.DataFrame(records)
    for name in added:
        of_rows = (scored[record.split].by_protocol[record.protocol].values.get(name) for record in records)
        rows[name] = pd.Series(list(of_rows), dtype="float64")
    return rows


def _costs(job: Job) -> list[ComponentCost] | None:
    """Return the costs of the model; None, with a warning, where a module of a user's own cannot be counted.

    Counting runs after hours of training, so it must not fail the run.
    """
    try:
        return measure_cost(job.config.model)
    except Exception as error:
        log.warning("%s: costs are left out of the record: %s", job.run_id, " ".join(str(error).split()))
        return None


def _training_speed(job: Job, state: TrainState, worker: Worker, costs: list[ComponentCost] | None) -> dict[str, Any]:
    """Return the columns about work and speed; null where no step was taken in this session or a rate is not known."""
    train = job.config.train
    gmacs = None if costs is None else sum(cost.gmacs for cost in costs)
    seconds = statistics.median(state.step_seconds) if state.step_seconds else None
    samples_per_second = seconds and train.global_batch_size / seconds
    mfu = model_flops_utilization(
        gmacs=gmacs,
        samples_per_second=samples_per_second,
        workers=worker.world_size,
        device=worker.device,
        precision=train.precision,
        tf32=train.float32_products == "tf32",
    )
    return {
        "gmacs": gmacs,
        "seconds_per_step": seconds,
        "train_samples_per_second": samples_per_second,
        "mfu": mfu,
        "worker_hours": _worker_hours(state),
    }


def _worker_hours(state: TrainState) -> float | None:
    """Return the hours of all workers in training; None where an epoch's seconds are not known."""
    known = [row["seconds"] * row["world_size"] for row in state.history if row.get("seconds") is not None]
    return sum(known) / 3600 if len(known) == len(state.history) else None


def _batch_norm_in_words(job: Job, state: TrainState) -> str:
    """Return the samples behind the batch statistics, for each number of workers and forward size of the run."""
    sizes = sorted({(int(row["world_size"]), int(row["micro_batch_size"])) for row in state.history}, reverse=True)
    words = (in_words(job.config.train, world_size=workers, micro_batch_size=size) for workers, size in sizes)
    return "; ".join(dict.fromkeys(words))


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory of this process in MiB: allocated on the GPU if there is one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resident_peak_mib()
