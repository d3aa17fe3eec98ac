"""Scores of a finished run again, for metrics and protocols that were added after it was recorded. Nothing is trained.

A metric is computed from the stored per-sample rows. A protocol makes masks from probabilities, which are not stored,
so it needs the exported model and the prepared data, and so does a metric of masks: of the predicted masks only those
of `original` are stored. What is on disk is kept: only missing values and rows are added. The one exception is a
protocol whose version was raised: its rows are replaced, and `rescored_json` names the version before.
The per-sample rows are written before the record, so the same command finishes an interrupted rescoring.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from pipeline.evaluation.metrics import METRICS, added_metrics, is_of_masks, record_schema, score, values_of
from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.sample_columns import mask_columns, sample_schema
from pipeline.records import RecordError, read_table, record_path, samples_path, write_table

SAMPLE_KEYS = ["index", "image_id", "ref_id", "sent_id", "expression"]
Evaluate = Callable[[str, str], pd.DataFrame]
"""(run id, split) -> per-sample rows from the run's model, under every protocol."""


@dataclass(frozen=True, kw_only=True)
class Added:
    """What was added to a run, each name once."""

    protocols: dict[str, None] = field(default_factory=dict)
    metrics: dict[str, None] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)  # protocol -> version of the rows before


def rescore_run(root: Path, run_id: str, *, evaluate: Evaluate, git_commit: str) -> Added:
    """Add what the record and the per-sample rows of a run lack; return what that was.

    Args:
        root: of the runs.
        run_id: of a run with a record.
        evaluate: called for a split where a protocol is missing in the rows on disk.
        git_commit: of this process, for the record.

    Raises:
        RecordError: for a file that is missing or damaged, and for rows of other samples than those on disk.
    """
    record = read_table(record_path(root, run_id), record_schema())
    added, parts = Added(), []
    for split, of_split in record.groupby("split", sort=False):
        stale = _stale(of_split)
        missing = [name for name in PROTOCOLS if name in stale or name not in set(of_split["protocol"])]
        samples = read_table(samples_path(root, run_id, str(split)), sample_schema())
        samples = samples.sort_values("index", ignore_index=True)
        if of_split["system"].notna().any():  # masks of others have one protocol, and no model that could answer anew
            stale, missing = {}, []
        elif lacking := _lacking_columns(samples, missing, stale, has_model=(root / "models" / run_id).is_dir()):
            samples = _filled(root, run_id, str(split), samples, lacking, evaluate)
        added.replaced.update(stale)
        kept = of_split[~of_split["protocol"].isin(list(stale))]
        parts += [_with_metrics(kept, samples, added), _protocol_rows(of_split, samples, missing, added)]
    if added.protocols or added.metrics:
        rows = pd.concat([part for part in parts if len(part)], ignore_index=True)
        rows["rescored_json"] = [_with_entry(text, added, git_commit) for text in rows["rescored_json"]]
        replace_table(record_path(root, run_id), rows, record_schema())
    return added


def _stale(rows: pd.DataFrame) -> dict[str, int]:
    """Return protocol -> version of the rows under a version that has been raised since."""
    known = rows[rows["protocol"].isin(list(PROTOCOLS))]
    versions = {str(row["protocol"]): int(row["protocol_version"]) for _, row in known.iterrows()}
    return {name: version for name, version in versions.items() if version < PROTOCOLS[name].version}


def _lacking_columns(
    samples: pd.DataFrame, missing: list[str], stale: Mapping[str, int], *, has_model: bool
) -> list[str]:
    """Return the columns of the per-sample rows that only the model can give.

    Numbers per mask of the base are left out without a model: older runs may have none, and get the other metrics.
    """
    lacking = [name for name in missing if name in stale or samples[f"union_{name}"].isna().any()]
    columns = [f"{kind}_{name}" for name in lacking for kind in ("intersection", "union", "iou")]
    if "original" in lacking:
        columns.append("mask_rle")
    for protocol in PROTOCOLS.values():
        for name, metric in mask_columns(protocol).items():
            is_lacking = samples[name].isna().any() and (has_model or not is_of_masks(metric))
            columns += [name] if protocol.name in lacking or is_lacking else []
    return columns


def _filled(
    root: Path, run_id: str, split: str, samples: pd.DataFrame, columns: list[str], evaluate: Evaluate
) -> pd.DataFrame:
    """Return the per-sample rows with these columns from the run's model, written to disk first."""
    path = samples_path(root, run_id, split)
    new = evaluate(run_id, split).sort_values("index", ignore_index=True)
    if not new[SAMPLE_KEYS].equals(samples[SAMPLE_KEYS].astype(new[SAMPLE_KEYS].dtypes.to_dict())):
        raise RecordError(f"{path} has other samples than the prepared {split}", "Prepare the data of the run again")
    for column in columns:
        samples[column] = new[column]
    replace_table(path, samples, sample_schema())
    return samples


def _with_metrics(rows: pd.DataFrame, samples: pd.DataFrame, added: Added) -> pd.DataFrame:
    """Return record rows of a split with the values of added metrics that they lack."""
    rows = rows.copy()
    for place, row in rows.iterrows():
        later = [*(metric for metric in METRICS.values() if is_of_masks(metric)), *added_metrics()]
        lacking = [metric for metric in later if pd.isna(row[metric.name])]
        if not lacking or row["protocol"] not in PROTOCOLS:
            continue
        values = values_of(lacking, samples, PROTOCOLS[row["protocol"]], input_size_of(row["config_json"]))
        for name, value in values.items():
            if value is not None:
                rows.loc[place, name] = value
                added.metrics[name] = None
    return rows


def _protocol_rows(rows: pd.DataFrame, samples: pd.DataFrame, missing: list[str], added: Added) -> pd.DataFrame:
    """Return a record row per missing protocol: the run's own facts with the scores under it."""
    found: list[dict[str, Any]] = []
    for name in missing:
        first: dict[str, Any] = {str(key): value for key, value in rows.iloc[0].items()}
        found.append({**first, **scored_row(PROTOCOLS[name], samples, str(first["config_json"]))})
        added.protocols[name] = None
    return pd.DataFrame(found, columns=rows.columns)


def scored_row(protocol: Protocol, samples: pd.DataFrame, config_json: str) -> dict[str, Any]:
    """Return the columns of a record row that per-sample rows decide, under one protocol."""
    scores = score(samples, protocol, input_size=input_size_of(config_json))
    counts = {"samples": scores.samples, "images": scores.images, "empty_unions": scores.empty_unions}
    return {"protocol": protocol.name, "protocol_version": protocol.version, **counts, **scores.values}


def input_size_of(config_json: str) -> int:
    """Return the side of the model's input in pixels, from the config of a record.

    Of external predictions it is the side at which they were compared, 0 for the images' own sizes.
    """
    config = json.loads(config_json)
    if "scoring" in config:
        return int(config["scoring"]["input_size"] or 0)
    return int(config["model"]["encoder"]["image_size"])


def _with_entry(text: str | None, added: Added, git_commit: str) -> str:
    """Return the history of a record's rescorings with one more."""
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit,
        "protocols": list(added.protocols),
        "metrics": list(added.metrics),
        **({"replaced": added.replaced} if added.replaced else {}),
    }
    return json.dumps([*(json.loads(text) if isinstance(text, str) else []), entry])


def replace_table(path: Path, rows: pd.DataFrame, schema: pa.Schema) -> None:
    """Write rows in place of a file, with the columns that this process does not know kept (of another plugin)."""
    unknown: Mapping[str, pa.DataType] = {
        name: pa.Array.from_pandas(rows[name]).type for name in rows.columns if name not in schema.names
    }
    kept = pa.schema([*schema, *(pa.field(name, kind) for name, kind in unknown.items())])
    write_table(path, rows.drop(columns="schema_version"), kept)
