"""What a finished run logs to MLflow: scores per split and protocol as metrics, its tables as artifacts.

    val/oiou, val/miou              the main scores of a split, to compare and chart
    SET/SPLIT/PROTOCOL/METRIC       every score and count
    run/NAME, train/NAME            costs and sizes of the run; one value per epoch

    records/RUN.parquet   history/RUN.parquet   samples/SET/SPLIT.parquet

Each table has its own folder: record and history have the same file name, and two sets may have a split `val`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import pandas as pd

from pipeline.evaluation.metrics import METRICS, metrics_of
from pipeline.records import history_path, record_path, samples_path

_COUNTS = ("samples", "empty_unions")
_ONCE = ("million_params", "gmacs", "seconds_per_step", "peak_memory_mib", "final_loss", "seconds")
_OF_LATER_RECORDS = ("mfu", "worker_hours")


def artifacts_of(root: Path, run_id: str, splits: Iterable[str]) -> list[tuple[Path, str]]:
    """Return the files of a finished run with the artifact folder of each."""
    files = [
        (record_path(root, run_id), "records"),
        (history_path(root, run_id), "history"),
        *((samples_path(root, run_id, split), f"samples/{split.rpartition('/')[0]}") for split in splits),
    ]
    return [(path, folder) for path, folder in files if path.exists()]


def final_metrics(record: pd.DataFrame) -> list[tuple[str, float]]:
    """Return the metrics of a record by names that MLflow accepts, the headline scores first."""
    scores = [
        (metric_name(f"{row['split']}/{row['protocol']}/{name}"), float(row[name]))
        for _, row in record.iterrows()
        for name in (*_COUNTS, *METRICS)
        if name in row and pd.notna(row[name])  # an added metric has no score in earlier records
    ]
    names = (*_ONCE, *(name for name in _OF_LATER_RECORDS if name in record and pd.notna(record.iloc[0][name])))
    once = [(f"run/{name}", float(record.iloc[0][name])) for name in names]
    found = headline_metrics(record) + scores + once
    return [(name, value) for name, value in found if math.isfinite(value)]  # a null is not a metric


def headline_metrics(record: pd.DataFrame) -> list[tuple[str, float]]:
    """Return the main scores of each split under the protocol `original` by short names: `val/oiou`, `testA/miou`.

    Where two sets have a split of one name, the short name is that of the set that is evaluated first.
    """
    found: dict[str, float] = {}
    for _, row in record[record["protocol"] == "original"].iterrows():
        for metric in metrics_of("main"):
            if metric.name in row and pd.notna(row[metric.name]):
                found.setdefault(_short_name(row["split"], metric.name), float(row[metric.name]))
    return list(found.items())


def awaited_headlines(splits: Iterable[str]) -> list[str]:
    """Return the short names of the scores that every split gets, for a run that has none of them yet."""
    names = [_short_name(split, name) for split in splits for name in ("oiou", "miou")]
    return list(dict.fromkeys(names))


def without_scores(metrics: Mapping[str, float]) -> list[str]:
    """Return the names under which a run has no number: NaN stands for a score that is awaited."""
    return [name for name, value in metrics.items() if math.isnan(value)]


def metric_splits(record: pd.DataFrame) -> dict[str, str]:
    """Return the split of each metric of `final_metrics` that belongs to one."""
    found: dict[str, str] = {}
    for _, row in record.iterrows():
        for name in (*_COUNTS, *METRICS):
            found[metric_name(f"{row['split']}/{row['protocol']}/{name}")] = row["split"]
            found.setdefault(_short_name(row["split"], name), row["split"])
    return found


def _short_name(split: str, metric: str) -> str:
    return metric_name(f"{split.partition('/')[2]}/{metric}")


def milliseconds_of(record: pd.DataFrame) -> tuple[int, int]:
    """Return start and end of a recorded run in milliseconds since 1970; the end is the start plus the work's time."""
    first = record.iloc[0]
    started = int(datetime.fromisoformat(first["started"]).timestamp() * 1000)
    return started, started + int(1000 * first["seconds"])


def metric_name(text: str) -> str:
    """Return a name that MLflow accepts: it refuses `@` and `+`."""
    return text.replace("+", "plus").replace("@", "_at_")
