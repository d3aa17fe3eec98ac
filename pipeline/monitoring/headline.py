"""The scores of a finished run in one line, whatever state its record is in."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline.evaluation.metrics import METRICS, metrics_of
from pipeline.records import (
    RECORD_SCHEMA,
    RecordError,
    read_table,
    record_path,
)
from pipeline.validation_rows import VALIDATION_SCHEMA, validation_path
from sharedris.errors import InputError


class NoScoresError(RecordError):
    """A record without scores under the protocol that is asked for, as of external masks at the input size."""


def read_scores(root: Path, run_id: str, protocol: str = "original") -> pd.DataFrame:
    """Return the rows of a record under one protocol, at least one.

    Raises:
        NoScoresError: when the record has no such rows.
        RecordError: when the record is damaged; one damaged record must not end a list of runs.
    """
    path = record_path(root, run_id)
    try:
        record = read_table(path, RECORD_SCHEMA)
    except InputError:
        raise
    except Exception as error:  # what a library raises on damaged bytes is not declared
        raise RecordError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    rows = record[record["protocol"] == protocol]
    if rows.empty:
        there = ", ".join(sorted(set(record["protocol"])))
        raise NoScoresError(f"no scores under the protocol {protocol}; --protocol {there} shows some")
    return rows


def split_scores(row: pd.Series) -> str:
    """Return the split of a row and its main scores in words."""
    shown = [metric for metric in metrics_of("main") if metric.name in row and pd.notna(row[metric.name])]
    return f"{row['split']} " + "  ".join(f"{metric.heading} {metric.text(row[metric.name])}" for metric in shown)


def score_values(row: pd.Series) -> dict[str, object]:
    """Return the split, the protocol, the samples and every metric of a row by name, for machines."""
    counts = {name: row[name] for name in ("split", "protocol", "samples")}
    return {**counts, **{name: row[name] for name in METRICS if name in row and pd.notna(row[name])}}


def last_validation(root: Path, run_id: str) -> str:
    """Return the scores of the newest validation of a run that trains, in words; empty where there is none."""
    path = validation_path(root, run_id)
    if not path.exists():
        return ""
    try:
        rows = read_table(path, VALIDATION_SCHEMA)
    except RecordError:
        return ""
    return validation_words(rows[rows["protocol"] == "original"].iloc[-1]) if len(rows) else ""


def validation_words(row: pd.Series) -> str:
    """Return step, split and main scores of a validation in words."""
    return f"validated at step {row['step']}: {split_scores(row)} ({row['samples']} samples)"


def headline(root: Path, run_id: str) -> str:
    """Return the scores on the first split, or why the record cannot be read."""
    try:
        return split_scores(read_scores(root, run_id).iloc[0])
    except RecordError as error:
        return f"damaged: {error.message}"
