"""TEST ONLY: many recorded runs made from one real run, so that a store of MLflow gets full in seconds.

Each copy has another seed, its own identity, and scores and losses that are moved by made-up amounts.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np

from pipeline.config import RunConfig
from pipeline.job import Job, resolve_job
from pipeline.records import (
    HISTORY_SCHEMA,
    RECORD_SCHEMA,
    SAMPLE_SCHEMA,
    history_path,
    read_table,
    record_path,
    samples_path,
    write_table,
)
from pipeline.run import run_in_process
from sweeps.spec import NO_FPN, fpn

CHANGES = (NO_FPN, fpn(stages=(1,)), fpn(stages=(2,)), fpn(stages=(1, 2)))


def write_many(first: Job, count: int) -> list[Job]:
    """Run the first job, and write records, histories, samples and models of `count - 1` more."""
    run_in_process(first)
    jobs = [first, *(_copy(first, number) for number in range(1, count))]
    assert all(job.done for job in jobs)
    return jobs


def _copy(first: Job, number: int) -> Job:
    config: RunConfig = CHANGES[number % len(CHANGES)].apply(replace(first.config, seed=number))
    job = resolve_job(config, first.execution, provenance=first.provenance, cells=first.cells)
    random = np.random.default_rng(number)
    record = read_table(record_path(first.runs_root, first.run_id), RECORD_SCHEMA)
    scores = [name for name in ("oiou", "miou") if name in record]
    record = record.assign(run_id=job.run_id, content_hash=job.content_hash, seed=number, variant=config.model.variant)
    record[scores] += random.uniform(0, 0.1)
    write_table(record_path(job.runs_root, job.run_id), record[RECORD_SCHEMA.names[1:]], RECORD_SCHEMA)
    history = read_table(history_path(first.runs_root, first.run_id), HISTORY_SCHEMA)
    history["loss"] *= random.uniform(0.8, 1.2)
    write_table(history_path(job.runs_root, job.run_id), history[HISTORY_SCHEMA.names[1:]], HISTORY_SCHEMA)
    for split in config.data.evaluate_splits:
        samples = read_table(samples_path(first.runs_root, first.run_id, split), SAMPLE_SCHEMA)
        write_table(samples_path(job.runs_root, job.run_id, split), samples[SAMPLE_SCHEMA.names[1:]], SAMPLE_SCHEMA)
    shutil.copytree(first.model_folder, job.model_folder, copy_function=os.link)
    return job
