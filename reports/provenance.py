"""The provenance of each run on the page: where its numbers come from."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.evaluation.metrics import Metric, shown_metrics
from reports.external import external_facts, system_label
from reports.labels import variant_label
from reports.load import Runs


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """One run on the page."""

    id: str
    label: str
    facts: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, ...], ...]
    config: str
    headings: tuple[str, ...]


def run_cards(runs: Runs) -> list[RunCard]:
    """Return a card per run, in order of their start; runs whose cell is claimed twice are among them, marked."""
    every = pd.concat([runs.records, runs.claims]) if len(runs.claims) else runs.records
    claimed = set(runs.claims["run_id"])
    cards = [_card(str(run_id), rows, str(run_id) in claimed) for run_id, rows in every.groupby("run_id", sort=False)]
    cards += [_external_card(str(run_id), rows) for run_id, rows in runs.external.groupby("run_id", sort=False)]
    return sorted(cards, key=lambda card: (dict(card.facts)["started"], card.id))


def _card(run_id: str, rows: pd.DataFrame, is_claimed: bool) -> RunCard:
    first = rows.iloc[0]
    label = f"{variant_label(first['variant'])}, {first['scale']}, {first['trained_on']}, seed {first['seed']}"
    label = f"{label} (two records claim its cell)" if is_claimed else label
    return _card_of(run_id, label, _facts(first), rows)


def _card_of(run_id: str, label: str, facts: dict[str, str], rows: pd.DataFrame) -> RunCard:
    metrics = shown_metrics(rows, "main", "detail")
    return RunCard(
        id=run_id,
        label=label,
        facts=tuple((name, value) for name, value in facts.items() if value),
        scores=tuple(_scores(row, metrics) for row in rows.sort_values(["split", "protocol"]).to_dict("records")),
        config=_pretty(rows.iloc[0]["config_json"]),
        headings=(
            *("split", "protocol", "samples"),
            *(metric.heading for metric in metrics),
            *("empty", "skipped"),
        ),
    )


def _external_card(run_id: str, rows: pd.DataFrame) -> RunCard:
    first = rows.iloc[0]
    return _card_of(run_id, system_label(first), external_facts(first), rows)


def _facts(first: pd.Series) -> dict[str, str]:
    return {
        "variant": first["variant"],
        "cells": ", ".join(first["cells"]) if first["cells"] is not None else "",
        "started": f"{first['started']}",
        "took": f"{first['seconds']:,.0f} s, {first['epochs']} epochs, {first['steps']:,} steps",
        "speed": f"{first['train_samples_per_second']:,.1f} samples/s in training, "
        f"{first['evaluate_samples_per_second']:,.1f} in evaluation",
        "peak memory": f"{first['peak_memory_mib']:,.0f} MiB",
        "size": f"{first['million_params']:.2f} million parameters, {first['gmacs']:.2f} GMACs at its own scale",
        "workers": f"{first['world_size']}, batch norm {first['batch_norm']}",
        "commit": f"{first['git_commit']}{' with uncommitted changes' if first['git_dirty'] else ''}",
        "content hash": first["content_hash"],
        "recipe": first["recipe"],
        "data": f"{first['trained_on']}, fingerprint {first['data_fingerprint']}",
        "versions": _inline(first["versions_json"]),
        "hardware": _inline(first["hardware_json"]),
    }


def _scores(row: Mapping[Hashable, Any], metrics: list[Metric]) -> tuple[str, ...]:
    return (
        row["split"],
        f"{row['protocol']} v{row['protocol_version']}",
        f"{row['samples']:,}",
        *(_score(row, metric) for metric in metrics),
        str(row["empty_unions"]),
        str(row["skipped"]),
    )


def _score(row: Mapping[Hashable, Any], metric: Metric) -> str:
    value = row.get(metric.name)
    return "" if value is None or pd.isna(value) else metric.text(value)


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    except ValueError:
        return text


def _inline(text: str) -> str:
    try:
        values = json.loads(text)
    except ValueError:
        return text
    if not isinstance(values, dict):
        return str(values)
    return ", ".join(f"{name} {value}" for name, value in values.items())
