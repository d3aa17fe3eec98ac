"""One score cell from the records of its seeds: mean and standard deviation in percent, with where it comes from."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from pipeline.evaluation.metrics import METRICS
from reports.layout import Cell, missing_cell


def score_cell(rows: pd.DataFrame, metric: str) -> Cell:
    """Return the cell of one variant with the metric's unit and decimals; several seeds as mean and deviation.

    Args:
        rows: records of one variant, split and protocol, one per seed.
        metric: name of a metric.
    """
    declared = METRICS[metric]
    if metric not in rows or rows[metric].isna().any():
        lacking = rows["run_id"] if metric not in rows else rows.loc[rows[metric].isna(), "run_id"]
        return missing_cell("not scored", f"sharedris runs rescore {' '.join(lacking)} adds {declared.heading}")
    values, decimals = declared.factor * rows[metric].to_numpy(dtype=float), declared.decimals
    mean = float(values.mean())
    spread = deviation(values)
    text = f"{mean:.{decimals}f}" + ("" if math.isnan(spread) else f" ± {spread:.{decimals}f}")
    return Cell(
        text=text, value=round(mean, decimals), run_ids=tuple(rows["run_id"]), detail=origin(rows), parts=(spread,)
    )


def deviation(values: np.ndarray) -> float:
    """Return the standard deviation over seeds (n - 1 below the fraction bar; nan for one seed)."""
    if np.size(values) < 2:
        return math.nan
    return float(np.std(values, ddof=1))


def origin(rows: pd.DataFrame) -> str:
    """Return in one line where a number comes from."""
    first = rows.iloc[0]
    seeds = ", ".join(str(seed) for seed in rows["seed"])
    named = zip(rows["git_commit"], rows["git_dirty"], strict=True)
    commits = ", ".join(sorted({f"{str(commit)[:10] or 'unknown'}{'+' if dirty else ''}" for commit, dirty in named}))
    return (
        f"{first['split']}, protocol {first['protocol']} v{first['protocol_version']}, scale {first['scale']}, "
        f"{first['epochs']} epoch(s), seed {seeds}, {first['samples']} samples, commit {commits}"
    )


def absence(*, built: bool, claimed: bool) -> Cell:
    """Return the cell of a row that has no record.

    Args:
        built: whether the row can be configured; the code of a published row without a variant does not exist.
        claimed: two records claim the cell.
    """
    if claimed:
        return missing_cell("two claims", "two records claim this cell; see the problems at the end")
    if built:
        return missing_cell("not run", "no record of this row")
    return missing_cell("not built", "the module of this row does not exist in this project")
