"""Which of the runs a table shows: one split, protocol, scale and recipe; never a mixture.

What the user does not name is chosen: the group of runs that fills most cells, then the larger scale, then the latest.
The others are told about, with the option that shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from reports.paper import FULL_SPLITS

SCALE_ORDER = ("large", "base", "tiny")
GROUP = ["split", "scale", "recipe"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user asked for; an empty string leaves the choice to the report."""

    protocol: str = "original"
    data: str = ""  # a set, refcoco+_unc; several joined by commas: runs trained on them together
    split: str = ""  # val, testA, ..
    scale: str = ""
    recipe: str = ""


@dataclass(frozen=True, kw_only=True)
class RunSelection:
    """The chosen group of runs: `rows` holds its records, one row per variant and seed."""

    protocol: str
    split: str = ""  # in full; empty when there is nothing to show
    scale: str = ""
    recipe: str = ""
    rows: pd.DataFrame
    claims: pd.DataFrame  # rows of the group that two records claim
    others: tuple[str, ...] = ()  # groups that were not chosen, one line each
    published_split: str = ""  # split of the published scores in the same table

    @property
    def is_published_data(self) -> bool:
        """Whether these scores may be compared with the paper's: its split, every expression of it, its scales."""
        return (
            self.scale in ("base", "large")
            and self.split == self.published_split
            and len(self.rows) > 0
            and bool((self.rows["samples"] == FULL_SPLITS.get(self.split)).all())
        )


def select_runs(
    records: pd.DataFrame,
    claims: pd.DataFrame,
    variants: list[str],
    wanted: Wanted,
    *,
    combined: bool = False,
    published_split: str = "",
    any_sets: bool = False,
) -> RunSelection:
    """Choose the runs of a table.

    Args:
        records: of `reports.load.Runs`.
        claims: rows that two runs claim, of the same.
        variants: those that the table has; runs of any other are not its concern.
        wanted: what the user named.
        combined: runs trained on several sets together instead of on the split's own set alone.
        any_sets: runs trained on whatever sets, for sweeps that change the data.
        published_split: where the paper's scores were taken; preferred among equals.
    """
    mine = _matching(records, variants, wanted, combined=combined, any_sets=any_sets)
    doubled = _matching(claims, variants, wanted, combined=combined, any_sets=any_sets)
    if mine.empty and doubled.empty:
        return RunSelection(protocol=wanted.protocol, rows=mine, claims=doubled)
    both = pd.concat([mine, doubled]) if len(doubled) else mine
    groups = both.groupby(GROUP, sort=True).agg(
        cells=("variant", "nunique"), runs=("run_id", "nunique"), started=("started", "max")
    )
    groups = groups.reset_index()
    groups["preferred"] = (groups["split"] == published_split).astype(int)
    groups["scale_rank"] = [-SCALE_ORDER.index(scale) if scale in SCALE_ORDER else -9 for scale in groups["scale"]]
    order = ["cells", "preferred", "scale_rank", "started"]
    groups = groups.sort_values(order, ascending=False, kind="stable", ignore_index=True)
    best = groups.iloc[0]
    others = tuple(
        f"also there: {row.runs} run(s) of {row.cells} cell(s) on {row.split}, scale {row.scale}, recipe {row.recipe}"
        for row in groups.iloc[1:].itertuples()
    )
    return RunSelection(
        protocol=wanted.protocol,
        split=best["split"],
        scale=best["scale"],
        recipe=best["recipe"],
        rows=_of_group(mine, best),
        claims=_of_group(doubled, best),
        others=others,
        published_split=published_split,
    )


def _of_group(rows: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    same = (rows["split"] == group["split"]) & (rows["scale"] == group["scale"]) & (rows["recipe"] == group["recipe"])
    return rows[same].sort_values(["variant", "seed"], ignore_index=True)


def _matching(
    records: pd.DataFrame, variants: list[str], wanted: Wanted, *, combined: bool, any_sets: bool
) -> pd.DataFrame:
    keep = (records["protocol"] == wanted.protocol) & records["variant"].isin(variants)
    sets = sorted(filter(None, wanted.data.split(",")))
    if not any_sets:
        keep &= records["training"] == ("combined" if combined or len(sets) > 1 else "own")
    if sets:
        keep &= records["split"].str.startswith(tuple(f"{name}/" for name in sets))
    if len(sets) > 1:
        keep &= records["trained_on"] == " + ".join(sets)
    if wanted.split:
        keep &= records["split"].str.endswith(f"/{wanted.split}")
    if wanted.scale:
        keep &= records["scale"] == wanted.scale
    if wanted.recipe:
        keep &= records["recipe"] == wanted.recipe
    return records[keep]
