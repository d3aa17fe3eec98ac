"""The columns of per-sample rows: those of the protocols, and a number per sample of each metric of masks."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from pipeline.evaluation.metrics import METRICS, Metric
from pipeline.evaluation.protocols import PROTOCOLS, Protocol, protocol_schema


def mask_columns(protocol: Protocol) -> dict[str, Metric]:
    """Return column of the per-sample file -> metric, of the metrics that look at masks under a protocol."""
    return {f"{metric.name}_{protocol.name}": metric for metric in METRICS.values() if metric.per_mask is not None}


def mask_numbers(protocol: Protocol, mask_HW: np.ndarray, target_HW: np.ndarray) -> dict[str, float]:
    """Return column -> number of one sample; NaN where a metric fails, which then has no score."""
    found = {}
    for column, metric in mask_columns(protocol).items():
        assert metric.per_mask is not None
        try:
            found[column] = float(metric.per_mask(mask_HW, target_HW))
        except Exception:
            found[column] = math.nan
    return found


def sample_schema(extra: Iterable[str] = ()) -> pa.Schema:
    """Return the schema of per-sample rows as this process writes them: that of the protocols, then mask metrics."""
    of_protocols = protocol_schema(extra)
    columns = [column for protocol in PROTOCOLS.values() for column in mask_columns(protocol)]
    added = [column for column in columns if column not in of_protocols.names]
    return pa.schema([*of_protocols, *(pa.field(column, pa.float64()) for column in added)])
