"""Records that are the same training, scored on other splits: one run for every table.

A recipe is a hash that holds the splits too, so that ids of old records stay. Two records whose configs differ only in
splits get the recipe of the one that was started first. Where both have scores of one split, the first one's are shown.
"""

from __future__ import annotations

import json

import pandas as pd

from pipeline.config import CONFIG_VERSION
from pipeline.identity import digest
from reports.json_text import object_of

_ABLATED = ("fpn", "decoder", "system")


def join_same_trainings(records: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the records with one recipe per training setup and one score per split, and a line per joined pair.

    Args:
        records: rows of records with `started`.
    """
    keys = {str(run_id): _keys_of(rows.iloc[0]) for run_id, rows in records.groupby("run_id")}
    setups = records["run_id"].map({run_id: key[0] for run_id, key in keys.items()})
    trainings = records["run_id"].map({run_id: key[1] for run_id, key in keys.items()})
    first = records.assign(_setup=setups).sort_values(["started", "run_id"]).groupby("_setup")["recipe"].first()
    joined = records.assign(recipe=[first[setup] for setup in setups], _training=trainings)
    ordered = joined.sort_values(["started", "run_id"], kind="stable")
    again = ordered.duplicated(["_training", "split", "protocol"])
    lines = []
    for training, rows in ordered[ordered["_training"].isin(set(ordered.loc[again, "_training"]))].groupby("_training"):
        run_ids = list(dict.fromkeys(rows["run_id"]))
        splits = sorted(set(ordered.loc[again & (ordered["_training"] == training), "split"]))
        names = f"{' and '.join(run_ids)} are the same training"
        lines.append(f"{names}; the scores of {run_ids[0]} are shown on {', '.join(splits)}")
    kept = joined.loc[sorted(set(joined.index) - set(ordered.index[again]))]
    return kept.drop(columns="_training").reset_index(drop=True), lines


def _keys_of(row: pd.Series) -> tuple[str, str]:
    """Return the keys of a run's setup (all but the ablated modules and the seed) and of its training.

    The recipe in the record is a hash of the config as it was asked for, perhaps without the hash of its starting
    weights. Where the config does not give that recipe (an older version), the run is joined to no other.
    """
    config = object_of(str(row["config_json"]))
    own = str(row["recipe"])
    try:
        splits = tuple(config["data"].pop("evaluate_splits"))
        asked = json.loads(json.dumps(config))
        asked.pop("seed")
        for name in _ABLATED:
            asked["model"].pop(name)
        as_named = asked, {**asked, "train": {**asked["train"], "encoder_weights_sha256": None}}
    except (KeyError, TypeError, AttributeError):
        return own, str(row["run_id"])
    for each in as_named:
        with_splits = {**each, "data": {**each["data"], "evaluate_splits": list(splits)}}
        if digest({"config": with_splits, "data": row["data_fingerprint"]}, version=CONFIG_VERSION)[:12] == own:
            setup = json.dumps([each, row["data_fingerprint"]], sort_keys=True)
            return setup, json.dumps([config, row["data_fingerprint"]], sort_keys=True)
    return own, str(row["run_id"])
