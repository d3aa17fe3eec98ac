"""Intersections and unions of each sample over a grid of thresholds, in a file next to the per-sample rows.

    ROOT/thresholds/RUN/SET/SPLIT.parquet   a row per threshold and expression (columns of `threshold_schema`)

The rows are sorted by threshold, then by `index` of the expression, and the run's own threshold is one of them. The
counts come from the probabilities and rules of the per-sample rows, so at the run's own threshold both are the same
numbers. A curve is one line of pandas: `rows.groupby("threshold")[["intersection_original", "union_original"]].sum()`.

Shapes: H, W logit map; h, w the size at which a protocol scores; N samples, T thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.evaluation.protocols import PROTOCOLS, Protocol

if TYPE_CHECKING:
    from torch import Tensor

GRID = tuple(round(0.05 * step, 2) for step in range(1, 20))
COUNTS = "counts_at_thresholds"
"""Column of the rows that workers gather: int64 [T, columns of `count_columns`]. It is never written as it is."""
KEYS = ("index", "image_id", "sent_id")


def thresholds_path(root: Path, run_id: str, split: str) -> Path:
    """Return where the counts of a run and a split (`SET/SPLIT`) lie."""
    return Path(root) / "thresholds" / run_id / f"{split}.parquet"


def thresholds_with(own: float) -> tuple[float, ...]:
    """Return the grid with the threshold of a run, in rising order."""
    return tuple(sorted({*GRID, own}))


def count_columns() -> list[str]:
    """Return the columns of counts: two per protocol that this process knows."""
    return [f"{kind}_{name}" for name in PROTOCOLS for kind in ("intersection", "union")]


def threshold_schema() -> pa.Schema:
    """Return the schema of the file as this process writes it."""
    keys = [(name, pa.int64()) for name in KEYS]
    counts = [(name, pa.int64()) for name in count_columns()]
    return pa.schema([("schema_version", pa.int32()), *keys, ("threshold", pa.float64()), *counts])


def counts_over(probability_HW: Tensor, targets: Mapping[str, np.ndarray], thresholds: Sequence[float]) -> np.ndarray:
    """Return the counts of one sample, int64 [T, columns of `count_columns`].

    Args:
        probability_HW: as `score_sample` takes it.
        targets: `scored_at` of a protocol -> bool mask of that size.
        thresholds: in the order of the result.
    """
    counts = [
        _counts_of(protocol, probability_HW, targets[protocol.scored_at], thresholds) for protocol in PROTOCOLS.values()
    ]
    return np.concatenate(counts, axis=1)


def _counts_of(
    protocol: Protocol, probability_HW: Tensor, target_hw: np.ndarray, thresholds: Sequence[float]
) -> np.ndarray:
    """Return intersection and union at each threshold, int64 [T, 2]."""
    size = target_hw.shape[0], target_hw.shape[1]
    if protocol.resize is None:
        masks = [protocol.binarize(probability_HW, size, each).numpy() for each in thresholds]
        inside = [np.count_nonzero(mask & target_hw) for mask in masks]
        areas = [np.count_nonzero(mask) for mask in masks]
    else:
        resized_hw = protocol.resize(probability_HW, size).numpy()
        levels = [np.float32(each) for each in thresholds]  # torch compares in float32 as well
        in_target = resized_hw[target_hw]
        above_any = resized_hw[resized_hw > min(levels)]  # most pixels are below every threshold: compare them once
        inside = [np.count_nonzero(in_target > level) for level in levels]
        areas = [np.count_nonzero(above_any > level) for level in levels]
    intersection_T = np.asarray(inside, dtype=np.int64)
    union_T = np.asarray(areas, dtype=np.int64) + np.count_nonzero(target_hw) - intersection_T
    return np.stack([intersection_T, union_T], axis=1)


def threshold_rows(samples: pd.DataFrame, thresholds: Sequence[float]) -> pd.DataFrame:
    """Return the rows of the file from rows with the column COUNTS, sorted by `index`."""
    counts_NTK = np.stack(samples[COUNTS].to_list())
    counts_TNK = counts_NTK.transpose(1, 0, 2).reshape(-1, counts_NTK.shape[2])
    keys = {name: np.tile(samples[name].to_numpy(), len(thresholds)) for name in KEYS}
    rows = pd.DataFrame({**keys, "threshold": np.repeat(thresholds, len(samples))})
    return rows.assign(**dict(zip(count_columns(), counts_TNK.T, strict=True)))


def differing_samples(rows: pd.DataFrame, samples: pd.DataFrame, own: float) -> int:
    """Return how many samples have other counts at the run's own threshold than the per-sample rows say.

    Args:
        rows: of `threshold_rows`.
        samples: per-sample rows of the same split; a protocol without values there is not compared.
        own: threshold of the run.
    """
    mine = rows[rows["threshold"] == own].set_index("index").sort_index()
    recorded = samples.set_index("index").sort_index()
    if not mine.index.equals(recorded.index):
        return max(len(mine), len(recorded))
    names = [name for name in count_columns() if name in recorded and recorded[name].notna().all()]
    return int((mine[names].to_numpy() != recorded[names].to_numpy()).any(axis=1).sum())
