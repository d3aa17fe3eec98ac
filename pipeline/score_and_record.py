"""The end of a run: export the model, evaluate every split, write per-sample rows, then the record.

A record on disk means that the run is done. What follows it (pictures, removal of checkpoints) may fail or be cut
short without loss of a result.
"""

from __future__ import annotations

import logging
import math
import time

import pandas as pd
from torch import nn

from pipeline.config import EvaluationConfig, RunConfig
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.prepared.manifest import load_manifest
from pipeline.distributed.process_group import Worker, share_buffers
from pipeline.evaluation.attention_maps import store_attention
from pipeline.evaluation.evaluate import evaluate_split
from pipeline.evaluation.metrics import Scores, record_schema, score
from pipeline.evaluation.named_rules import own_evaluator
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.public_evaluators.evaluator import PublicEvaluator
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.evaluation.split_samples import open_split
from pipeline.evaluation.threshold_counts import (
    COUNTS,
    threshold_rows,
    threshold_schema,
    thresholds_path,
    thresholds_with,
)
from pipeline.job import Job
from pipeline.lifecycle.cleanup import remove_run_state
from pipeline.monitoring.progress import Progress
from pipeline.records import record_path, samples_path, write_table
from pipeline.run_record import ScoredSplit, build_records, record_rows
from pipeline.training.best_checkpoint import use_selected
from pipeline.training.model_with_loss import unwrap
from pipeline.training.state import TrainState
from sharedris.attention_maps import COMPONENTS, shows_attention
from sharedris.checkpoint import save_model
from sharedris.model import SharedRis
from sharedris.plugins import plugin_hashes

log = logging.getLogger(__name__)


def finish(job: Job, worker: Worker, state: TrainState) -> None:
    """Evaluate, record and clean up; collective, and repeated from its start if it is interrupted."""
    session_started = time.perf_counter()
    use_selected(job, worker, state)
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
            plugin_hashes(job.plugins),
        )
    scored: dict[str, ScoredSplit] = {}
    datasets = {split: open_split(job, split, job.own_tokenizer) for split in job.splits}
    progress = EvaluationProgress(job, worker, [len(dataset) for dataset in datasets.values()])
    for split, dataset in datasets.items():
        begun = time.perf_counter()
        own = own_evaluator(job.config.model)
        rows = evaluate_one(model, dataset, job, worker, progress, job.config.evaluation, own)
        rate = len(rows) / (time.perf_counter() - begun)
        scored[split] = ScoredSplit(
            by_protocol=score_all_protocols(rows, job.config),
            samples_per_second=rate,
            public_scores=public_scores(own, rows),
            cut_sentences=dataset.cut_sentences() if worker.is_main_process else 0,  # only rank zero writes the record
        )
        if worker.is_main_process:
            write_samples(job, split, rows, own)
    if worker.is_main_process:
        seconds = state.seconds + time.perf_counter() - session_started
        records = build_records(job, state, worker, model, scored, seconds=seconds)
        write_table(record_path(job.runs_root, job.run_id), record_rows(records, scored), record_schema())
        _try_to_store_attention(model, job, worker)
        _try_to_clean_up(job)
    worker.barrier()


def _try_to_clean_up(job: Job) -> None:
    """Remove checkpoints and mark the run as done; the record is on disk, so an error here must not fail the run."""
    try:
        remove_run_state(job)
        job.progress_file.write(Progress(run_id=job.run_id, phase="done"))
    except OSError as error:
        log.warning("%s: its checkpoints could not be removed: %s", job.run_id, error)


def _try_to_store_attention(model: nn.Module, job: Job, worker: Worker) -> None:
    """Store attention maps for the report's panels; a model that has none loses its pictures and not its run."""
    try:
        _store_attention(model, job, worker)
    except Exception as error:
        log.warning("%s: no attention maps: %s", job.run_id, " ".join(f"{type(error).__name__}: {error}".split()))


def _store_attention(model: nn.Module, job: Job, worker: Worker) -> None:
    """Store attention maps of a few samples of the first split."""
    split = job.config.data.evaluate_splits[0]
    dataset = open_split(job, split, job.own_tokenizer)
    without = [name for name in COMPONENTS if not shows_attention(model, name)]
    if without:
        log.info("%s: no attention map of %s: the modules show none", job.run_id, ", ".join(without))
    if len(without) < len(COMPONENTS) and isinstance(model, SharedRis):
        folder = job.runs_root / "attention" / job.run_id
        store_attention(model, dataset, split, folder, threshold=job.config.evaluation.threshold, device=worker.device)


class EvaluationProgress:
    """Progress of rank zero over its parts of all splits."""

    def __init__(self, job: Job, worker: Worker, samples: list[int]) -> None:
        self._job, self._is_main_process = job, worker.is_main_process
        self._file = job.progress_file
        self._total = sum(len(range(worker.rank, count, worker.world_size)) for count in samples)
        self._before = 0

    def update(self, done: int, of_split: int) -> None:
        """Record how many of this worker's samples of a split are done; splits come one after the other."""
        if self._is_main_process:
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
        if done == of_split:
            self._before += of_split


def evaluate_one(
    model: nn.Module,
    dataset: ReferDataset,
    job: Job,
    worker: Worker,
    progress: EvaluationProgress,
    evaluation: EvaluationConfig,
    own: PublicEvaluator | None,
) -> pd.DataFrame:
    """Return the per-sample rows of one split, with counts at the grid of thresholds; collective."""
    return evaluate_split(
        model,
        dataset,
        evaluation=evaluation,
        precision=job.config.train.precision,
        worker=worker,
        loader_workers=job.execution.loader_workers,
        extra=own.rules_on_maps if own else (),
        thresholds=thresholds_with(evaluation.threshold),
        on_progress=progress.update,
    )


def public_scores(own: PublicEvaluator | None, rows: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Return the scores by the code of the other paper whose decoder or system a model has; JSON has no NaN."""
    if own is None:
        return {}
    return {own.name: {name: None if math.isnan(value) else value for name, value in own.scores_of_rows(rows).items()}}


def write_samples(job: Job, split: str, rows: pd.DataFrame, own: PublicEvaluator | None) -> None:
    """Write the per-sample rows of a split, and the counts over thresholds before them.

    The counts of another paper's masks are left out, so that the rows of all runs have one schema.
    """
    write_thresholds(job, split, rows)
    names = [rule.name for rule in own.rules_on_maps] if own else []
    others = [f"{kind}_{name}" for name in names for kind in ("intersection", "union", "iou")]
    stored = rows.drop(columns=[COUNTS, *others])
    write_table(samples_path(job.runs_root, job.run_id, split), stored, sample_schema())


def write_thresholds(job: Job, split: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Write the counts over thresholds of a split and return them, from rows of `evaluate_one`."""
    counts = threshold_rows(rows, thresholds_with(job.config.evaluation.threshold))
    write_table(thresholds_path(job.runs_root, job.run_id, split), counts, threshold_schema())
    return counts


def score_all_protocols(rows: pd.DataFrame, config: RunConfig) -> dict[str, Scores]:
    """Return the scores of one split under every protocol, by its name."""
    size = config.model.encoder.image_size
    return {name: score(rows, protocol, input_size=size) for name, protocol in PROTOCOLS.items()}
