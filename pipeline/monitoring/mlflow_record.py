"""What a finished run logs to MLflow: scores per split and protocol as metrics, its tables as artifacts.

    records/RUN.parquet   history/RUN.parquet   samples/SET/SPLIT.parquet

Each table has its own folder: record and history have the same file name, and two sets may have a split `val`.
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from pipeline.evaluation.metrics import METRICS
from pipeline.job import Job
from pipeline.records import history_path, record_path, samples_path

_COUNTS = ("samples", "empty_unions")
_ONCE = ("million_params", "gmacs", "seconds_per_step", "peak_memory_mib", "final_loss", "seconds")


def artifacts_of(job: Job) -> list[tuple[Path, str]]:
    """Return the files of a finished run with the artifact folder of each."""
    files = [
        (record_path(job.runs_root, job.run_id), "records"),
        (history_path(job.runs_root, job.run_id), "history"),
        *(
            (samples_path(job.runs_root, job.run_id, split), f"samples/{split.rpartition('/')[0]}")
            for split in job.splits
        ),
    ]
    return [(path, folder) for path, folder in files if path.exists()]


def final_metrics(record: pd.DataFrame) -> list[tuple[str, float]]:
    """Return the metrics of a record by names that MLflow accepts."""
    scores = [
        (metric_name(f"{row['split']}/{row['protocol']}/{name}"), float(row[name]))
        for _, row in record.iterrows()
        for name in (*_COUNTS, *METRICS)
        if name in row and pd.notna(row[name])  # an added metric has no score in earlier records
    ]
    once = [(f"run/{name}", float(record.iloc[0][name])) for name in _ONCE]
    return [(name, value) for name, value in scores + once if math.isfinite(value)]  # a null is not a metric


def metric_name(text: str) -> str:
    """Return a name that MLflow accepts: it refuses `@` and `+`."""
    return text.replace("+", "plus").replace("@", "_at_")
