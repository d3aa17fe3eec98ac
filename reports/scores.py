"""One score cell from the records of its seeds: mean and standard deviation in percent, with where it comes from."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from reports.layout import Cell, missing_cell

OWN_KINDS = ("none", "self_attention", "cross_attention", "bi_direction")
"""Modules of the model itself; any other in a variant is a compared module, rewritten by a later issue."""


def score_cell(rows: pd.DataFrame, metric: str) -> Cell:
    """Return the cell of one variant: percent with two decimals, as the paper; several seeds as mean and deviation.

    Args:
        rows: records of one variant, split and protocol, one per seed.
        metric: a column of RECORD_SCHEMA holding a share, 0 .. 1.
    """
    percent = 100.0 * rows[metric].to_numpy(dtype=float)
    mean = float(percent.mean())
    spread = deviation(percent)
    text = f"{mean:.2f}" + ("" if math.isnan(spread) else f" ± {spread:.2f}")
    return Cell(text=text, value=round(mean, 2), run_ids=tuple(rows["run_id"]), detail=origin(rows), parts=(spread,))


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


def absence(variant: str, *, claimed: bool, measured: bool) -> Cell:
    """Return the cell of a variant that has no record.

    Args:
        variant: join key of the row.
        claimed: two records claim the cell.
        measured: its costs are there, so its code exists.
    """
    if claimed:
        return missing_cell("two claims", "two records claim this cell; see the problems at the end")
    if is_own(variant) or measured:
        return missing_cell("not run", f"no record of {variant}")
    return missing_cell("not built", f"the module of {variant} does not exist in this project yet")


def is_own(variant: str) -> bool:
    """Say whether all modules of a variant are the model's own."""
    encoder, *modules = variant.split("|")
    kinds = [module.partition("=")[2].partition("(")[0] for module in modules]
    return encoder == "beit3" and all(kind in OWN_KINDS for kind in kinds)
