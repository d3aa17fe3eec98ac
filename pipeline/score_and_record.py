"""The end of a run: export the model, evaluate every split, write per-sample rows, and last of all the record.

The record is the sign that the run is done, so nothing is written after it but clean-up.
"""

from __future__ import annotations

import time

import pandas as pd
from torch import nn

from pipeline.config import RunConfig
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.prepared.manifest import load_manifest
from pipeline.distributed.process_group import Worker, share_buffers, unwrap
from pipeline.evaluation.attention_maps import store_attention
from pipeline.evaluation.evaluate import evaluate_split
from pipeline.evaluation.metrics import Scores, score
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.job import Job
from pipeline.lifecycle.cleanup import remove_run_state
from pipeline.monitoring.progress import Progress
from pipeline.records import RECORD_SCHEMA, SAMPLE_SCHEMA, record_path, samples_path, write_table
from pipeline.run_record import identity_columns, measured_columns, score_columns
from pipeline.training.state import TrainState
from sharedris.checkpoint import save_model
from sharedris.model import SharedRis


def finish(job: Job, worker: Worker, state: TrainState) -> None:
    """Evaluate, record and clean up; collective, and repeated from its start if it is interrupted."""
    session_started = time.perf_counter()
    model = unwrap(state.model)
    share_buffers(model, worker)
    if worker.is_main_process:
        manifest = load_manifest(job.execution.prepared_root, job.config.data.train_sets[0])
        save_model(
            job.model_folder,
            model,
            job.config.model,
            job.own_tokenizer or manifest.tokenizer_path,
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
        if worker.is_main_process:
            write_table(samples_path(job.runs_root, job.run_id, split), rows, SAMPLE_SCHEMA)
    if worker.is_main_process:
        _store_attention(model, job, worker)
        seconds = state.seconds + time.perf_counter() - session_started
        common = {**identity_columns(job), **measured_columns(job, state, worker, model), "seconds": seconds}
        records = [
            {**common, **score_columns(split, protocol, scores), "evaluate_samples_per_second": rates[split]}
            for split, by_protocol in scored.items()
            for protocol, scores in by_protocol.items()
        ]
        write_table(record_path(job.runs_root, job.run_id), pd.DataFrame(records), RECORD_SCHEMA)
        remove_run_state(job)
        job.progress_file.write(Progress(run_id=job.run_id, phase="done"))
    worker.barrier()


def _open_split(job: Job, split: str) -> ReferDataset:
    encoder = job.config.model.encoder
    return ReferDataset(
        job.execution.prepared_root,
        split,
        image_size=encoder.image_size,
        text_tokens=encoder.text_tokens,
        tokenizer_path=job.own_tokenizer,
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
        self._job, self._leads = job, worker.is_main_process
        self._file = job.progress_file
        self._total = sum(len(range(worker.rank, count, worker.world_size)) for count in samples)
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
