"""Which training recipe a report shows: chosen once, so that no two tables of a page are of different recipes.

A training recipe is all that decides a result but the data, the ablated modules and the seed: scale, epochs, samples
per epoch, optimizer, batch. Full budgets come before smoke runs, whatever the number of their runs. Every table of the
paper then gets the records of that recipe only. Tables of methods may add the paper's other scale (base, large) where
it was trained with the same settings.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import pandas as pd

from pipeline.published.tables import read_published
from pipeline.recipes import default_run
from reports.json_text import object_of, section_of
from reports.load import Runs
from reports.paper import NUMERALS
from reports.run_selection import SCALE_ORDER, Wanted
from sharedris.errors import InputError

_FULL_SHARE = 0.5
"""A run of fewer epochs than this share of its scale's default is a smoke run."""
_OTHER_SCALE = {"base": "large", "large": "base"}


@dataclass(frozen=True, kw_only=True)
class ReportRecipe:
    """The recipe of a report.

    Attributes:
        words: the recipe in words, empty where there are no runs: "tiny, 4 epochs, 4,880 samples an epoch".
        runs: its runs, for the ablations.
        runs_of_methods: the same with those of the paper's other scale, for tables with rows of both scales.
        others: a line for each recipe that is not shown, with the option that shows it.
    """

    words: str
    runs: Runs
    runs_of_methods: Runs
    others: tuple[str, ...]


def choose_recipe(runs: Runs, wanted: Wanted) -> ReportRecipe:
    """Choose the recipe of a report from all runs; what the user named restricts the choice."""
    every = pd.concat([runs.records, runs.claims]) if len(runs.claims) else runs.records
    keys = every.drop_duplicates("run_id").set_index("run_id")["config_json"].map(_key_of)
    fitting = _fitting(every, wanted)
    if fitting.empty:
        return ReportRecipe(words="", runs=runs, runs_of_methods=runs, others=())
    ranked = _ranked(fitting, keys)
    best = ranked.iloc[0]
    main = _of_recipe(runs, keys, best["scale"], best["key"])
    return ReportRecipe(
        words=best["words"],
        runs=main,
        runs_of_methods=_with_other_scale(runs, keys, main, ranked),
        others=tuple(
            f"not shown: {row.runs} run(s) of another recipe, {row.words} (--recipe {row.recipe} shows them)"
            for row in ranked.iloc[1:].itertuples()
        ),
    )


def _fitting(every: pd.DataFrame, wanted: Wanted) -> pd.DataFrame:
    keep = every["protocol"] == wanted.protocol
    for column, value in (("scale", wanted.scale), ("recipe", wanted.recipe)):
        if value:
            keep &= every[column] == value
    sets = tuple(f"{name}/" for name in wanted.data.split(",") if name)
    if sets:
        keep &= every["split"].str.startswith(sets)
    if wanted.split:
        keep &= every["split"].str.endswith(f"/{wanted.split}")
    return every[keep]


def _ranked(records: pd.DataFrame, keys: pd.Series) -> pd.DataFrame:
    """Return a line per recipe, the one to show first: full budget, cells of the paper, larger scale, latest start."""
    in_paper = set().union(*(read_published(numeral)["variant"] for numeral in NUMERALS)) - {""}
    lines = []
    for (scale, key), rows in records.groupby(["scale", records["run_id"].map(keys)], sort=True):
        lines.append(
            {
                "scale": scale,
                "key": key,
                "is_full": _is_full(str(scale), str(key)),
                "cells": len(in_paper & set(rows["variant"])),
                "scale_rank": -SCALE_ORDER.index(scale) if scale in SCALE_ORDER else -len(SCALE_ORDER),
                "started": rows["started"].max(),
                "runs": rows["run_id"].nunique(),
                "recipe": rows.sort_values("started")["recipe"].iloc[-1],
                "words": _in_words(str(scale), rows),
            }
        )
    order = ["is_full", "cells", "scale_rank", "started"]
    return pd.DataFrame(lines).sort_values(order, ascending=False, kind="stable", ignore_index=True)


def _of_recipe(runs: Runs, keys: pd.Series, scale: str, key: str) -> Runs:
    def of_recipe(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[(rows["scale"] == scale) & (rows["run_id"].map(keys) == key)]

    records, claims = of_recipe(runs.records), of_recipe(runs.claims)
    kept = _prepared_once(pd.concat([records, claims]) if len(claims) else records)
    return dataclasses.replace(
        runs,
        records=records[records["data_fingerprint"].isin(kept)].reset_index(drop=True),
        claims=claims[claims["data_fingerprint"].isin(kept)].reset_index(drop=True),
    )


def _prepared_once(rows: pd.DataFrame) -> set[str]:
    """Return one data fingerprint per training set: of a set that was prepared anew, the one with most variants."""
    ranked = (
        rows.groupby(["trained_on", "data_fingerprint"])
        .agg(cells=("variant", "nunique"), started=("started", "max"))
        .reset_index()
        .sort_values(["cells", "started"], ascending=False, kind="stable")
    )
    return set(ranked.drop_duplicates("trained_on")["data_fingerprint"])


def _with_other_scale(runs: Runs, keys: pd.Series, main: Runs, ranked: pd.DataFrame) -> Runs:
    """Add the runs of the paper's other scale with the same settings; of several such recipes, the first in rank."""
    best = ranked.iloc[0]
    same = ranked[
        (ranked["scale"] == _OTHER_SCALE.get(best["scale"]))
        & (ranked["key"].map(_without_model) == _without_model(best["key"]))
    ]
    if same.empty:
        return main
    other = _of_recipe(runs, keys, same["scale"].iloc[0], same["key"].iloc[0])
    return dataclasses.replace(
        main,
        records=pd.concat([main.records, other.records], ignore_index=True),
        claims=pd.concat([main.claims, other.claims], ignore_index=True) if len(other.claims) else main.claims,
    )


def _key_of(config_json: str) -> str:
    """Return the settings of a run that its recipe consists of, as JSON; unreadable text is its own recipe."""
    config = object_of(config_json)
    if not config:
        return json.dumps(config_json)
    config.pop("seed", None)
    for part, names in (
        ("model", ("fpn", "decoder", "system", "no_target")),
        ("data", ("train_sets", "evaluate_splits")),
        ("train", ("encoder_weights_sha256",)),  # rows of table VI start from other weights
    ):
        section = config.get(part)
        if isinstance(section, dict):
            config[part] = {name: value for name, value in section.items() if name not in names}
    return json.dumps(config, sort_keys=True)


def _without_model(key: str) -> str:
    return json.dumps({name: value for name, value in object_of(key).items() if name != "model"}, sort_keys=True)


def _is_full(scale: str, key: str) -> bool:
    """Whether every epoch is over the whole training set, and there are enough epochs for the scale."""
    train = section_of(key, "train")
    if train.get("max_samples_per_epoch") is not None:
        return False
    try:
        usual = default_run(scale=scale).train.epochs
    except InputError:  # a scale that the user has added
        return True
    epochs = train.get("epochs")
    return isinstance(epochs, int) and epochs >= _FULL_SHARE * usual


def _in_words(scale: str, rows: pd.DataFrame) -> str:
    """Return scale, epochs and samples per epoch, of all sets that the runs were trained on."""
    one = rows.drop_duplicates("run_id")
    epochs = _range(one["epochs"])
    batches = [section_of(text, "train").get("global_batch_size") for text in one["config_json"]]
    words = f"{scale}, {epochs} epoch{'' if epochs == '1' else 's'}"
    if all(isinstance(batch, int) for batch in batches):
        samples = one["steps"] // one["epochs"].clip(lower=1) * pd.Series(batches, index=one.index)
        words += f", {_range(samples)} samples an epoch"
    return words


def _range(values: pd.Series) -> str:
    lowest, highest = int(values.min()), int(values.max())
    return f"{lowest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"
