"""Adds splits to the record of a finished run: its exported model is scored on them. Nothing is trained.

For each split the per-sample rows are written before the record, and the record before the next split begins. So the
same command goes on with the first split that the record lacks, and a split that is there is not evaluated again. Of a
recorded split without the counts over thresholds, where they were asked for, only those are added.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from pipeline.data.prepared.manifest import load_manifest
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.metrics import record_schema
from pipeline.evaluation.named_rules import own_evaluator
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.evaluation.split_samples import open_split
from pipeline.evaluation.threshold_counts import differing_samples
from pipeline.job import Job
from pipeline.lifecycle.cleanup import remove_run_state
from pipeline.monitoring.progress import Progress
from pipeline.records import read_table, record_path, samples_path
from pipeline.rescore import replace_table, scored_row
from pipeline.score_and_record import EvaluationProgress, evaluate_one, public_scores, write_samples, write_thresholds
from sharedris.checkpoint import load_model

log = logging.getLogger(__name__)


def add_splits(job: Job, worker: Worker) -> None:
    """Evaluate the splits that a record lacks and add their rows, and the curves that were asked for; collective.

    Raises:
        InputError: when the model folder is missing or damaged.
    """
    # of rank zero: a file system may hide the newest record
    missing, curves = worker.gather((job.missing_splits, job.missing_curves))[0]
    loaded = load_model(job.model_folder, worker.device)
    evaluation = job.config.evaluation
    evaluation = replace(evaluation, batch_size=job.execution.evaluation_batch_size or evaluation.batch_size)
    datasets = {split: open_split(job, split, loaded.tokenizer_path) for split in (*missing, *curves)}
    progress = EvaluationProgress(job, worker, [len(dataset) for dataset in datasets.values()])
    own = own_evaluator(job.config.model)
    for split, dataset in datasets.items():
        begun = time.perf_counter()
        samples = evaluate_one(loaded.model, dataset, job, worker, progress, evaluation, own)
        if worker.is_main_process and split in curves:
            _add_curve(job, split, samples)
        elif worker.is_main_process:
            measured = {
                "evaluate_samples_per_second": len(samples) / (time.perf_counter() - begun),
                "cut_sentences": dataset.cut_sentences() or None,
                "public_scores_json": json.dumps(public_scores(own, samples)) if own else None,
                "evaluated_json": _how(job, split, worker, evaluation.batch_size),
            }
            write_samples(job, split, samples, own)
            _add_rows(job, split, samples, measured)
        worker.barrier()
    if worker.is_main_process:
        remove_run_state(job)
        job.progress_file.write(Progress(run_id=job.run_id, phase="done"))


def _add_curve(job: Job, split: str, samples: pd.DataFrame) -> None:
    """Write the counts over thresholds of a recorded split; the record and the per-sample rows stay as they are."""
    counts = write_thresholds(job, split, samples)
    own = job.config.evaluation.threshold
    recorded = read_table(samples_path(job.runs_root, job.run_id, split), sample_schema())
    if differing := differing_samples(counts, recorded, own):
        log.warning(
            "%s: %d of %d samples of %s have other counts at %g than recorded: another device, precision or batch size",
            job.run_id,
            differing,
            len(recorded),
            split,
            own,
        )


def _how(job: Job, split: str, worker: Worker, batch_size: int) -> str:
    """Return when, by which code, on which data and device a split was scored, as JSON."""
    manifest = load_manifest(job.execution.prepared_root, split.split("/", maxsplit=1)[0])
    values = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": job.provenance.get("git_commit"),
        "set_fingerprint": manifest.fingerprint,
        "batch_size": batch_size,
        "world_size": worker.world_size,
        "device": worker.device.type,
    }
    return json.dumps(values, sort_keys=True)


def _add_rows(job: Job, split: str, samples: pd.DataFrame, measured: dict[str, Any]) -> None:
    """Write the record again with a row per protocol of a split: the run's own facts with the scores of the split."""
    path = record_path(job.runs_root, job.run_id)
    record = read_table(path, record_schema())
    of_run = {str(name): value for name, value in record.iloc[0].items()} | {"rescored_json": None, **measured}
    found = [
        {**of_run, "split": split, **scored_row(protocol, samples, str(of_run["config_json"]))}
        for protocol in PROTOCOLS.values()
    ]
    others = record[record["split"] != split]
    rows = pd.concat([others, pd.DataFrame(found, columns=record.columns)], ignore_index=True)
    replace_table(path, rows, record_schema())
