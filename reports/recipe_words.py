"""The recipe of a report's ablations in words, for the page's first screen: nobody knows a recipe by its hash."""

from __future__ import annotations

import pandas as pd

from reports.captions import count_of
from reports.json_text import section_of
from reports.run_selection import RunSelection


def training_in_words(choice: RunSelection) -> str:
    """Return how the chosen runs were trained and what they were scored on, in two sentences; empty without runs."""
    if choice.rows.empty:
        return ""
    first = choice.rows.iloc[0]
    seeds = sorted(choice.rows["seed"].unique())
    named = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    scored = f"{choice.split} ({count_of(first['samples'], 'expression')}, {count_of(first['images'], 'image')})"
    optimizer = _optimizer(first)
    return (
        f"{f'{optimizer}; trained' if optimizer else 'Trained'} on {first['trained_on']}, {named}. "
        f"Scored on {scored} by the protocol {choice.protocol}."
    )


def _optimizer(record: pd.Series) -> str:
    """Return optimizer, schedule, batch and precision, as far as the config of the record names them."""
    config = record["config_json"]
    optim, train = section_of(config, "optim"), section_of(config, "train")
    parts = []
    if isinstance(rate := optim.get("learning_rate"), (int, float)):
        schedule = f" ({optim['schedule']} schedule)" if isinstance(optim.get("schedule"), str) else ""
        parts.append(f"AdamW, learning rate {rate:g}{schedule}")
    if isinstance(batch := train.get("global_batch_size"), int):
        parts.append(f"batch {batch}")
    if isinstance(precision := train.get("precision"), str):
        parts.append(precision)
    return ", ".join(parts)
