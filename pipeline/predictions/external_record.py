"""The record of an external system: like that of a run, without training and costs; a row per split.

Its id is `external-NAME-SET-HASH`. The hash is of what all its rows share: the name, the prepared data and the size of
the comparison. Another file of predictions for a split that is recorded replaces it only where that is asked for.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from pipeline.evaluation.metrics import BASE_METRICS, METRICS, Scores, added_metrics, record_schema
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.provenance import hardware
from pipeline.records import RunRecord, read_table, record_path, samples_path, write_table
from sharedris.errors import InputError
from sharedris.plugins import loaded_plugins, plugin_hashes

EXTERNAL = "external"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+.@-]{0,63}")
_LOCK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class ExternalSystem:
    """Whose masks are scored, on which data.

    Attributes:
        name: of the system, as tables print it: letters, digits and `_ + . @ -`.
        set_name: of the split's set.
        data_fingerprint: of the prepared set.
        input_size: side in pixels at which masks are compared; None for the images' own sizes.

    Raises:
        InputError: for another name.
    """

    name: str
    set_name: str
    data_fingerprint: str
    input_size: int | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"{self.name!r} cannot name a system", "Use letters, digits, and _ + . @ - inside, at most 64"
            )

    @property
    def content_hash(self) -> str:
        """SHA-256 of the attributes."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def run_id(self) -> str:
        """`external-NAME-SET-HASH`."""
        return f"{EXTERNAL}-{self.name}-{self.set_name}-{self.content_hash[:12]}"

    @property
    def protocol(self) -> str:
        """The one protocol whose columns are filled."""
        return "original" if self.input_size is None else "input"


@dataclass(frozen=True, kw_only=True)
class PredictionFacts:
    """What `predictions_json` of a record holds.

    Attributes:
        name: of the system.
        paper: title, address or bibliography key, as the user wrote it.
        source: name of the file or folder.
        form: of PREDICTION_READERS.
        sha256: of the predictions.
        input_size: as in ExternalSystem.
        missing: expressions without a prediction, scored as empty.
        unknown: predictions for other expressions, left out.
    """

    name: str
    paper: str
    source: str
    form: str
    sha256: str
    input_size: int | None
    missing: int = 0
    unknown: int = 0


def external_record(
    system: ExternalSystem,
    split: str,
    facts: PredictionFacts,
    scores: Scores,
    *,
    seconds: float,
    provenance: dict[str, Any],
) -> RunRecord:
    """Return the row of one split; what only a training has is None.

    Args:
        seconds: that reading and scoring took.
        provenance: of `pipeline.provenance.collect`.
    """
    return RunRecord(
        run_id=system.run_id,
        content_hash=system.content_hash,
        recipe=None,
        variant=f"{EXTERNAL}:{system.name}",
        cells=(),
        scale=EXTERNAL,
        seed=None,
        train_sets=(),
        left_out_json="{}",
        split=split,
        protocol=system.protocol,
        protocol_version=PROTOCOLS[system.protocol].version,
        samples=scores.samples,
        images=scores.images,
        empty_unions=scores.empty_unions,
        skipped=0,
        **{name: scores.values[name] for name in METRICS if name in BASE_METRICS},  # type: ignore[arg-type]
        million_params=None,
        gmacs=None,
        cost_json=None,
        seconds_per_step=None,
        train_samples_per_second=None,
        evaluate_samples_per_second=None,
        peak_memory_mib=None,
        epochs=None,
        steps=None,
        final_loss=None,
        world_size=None,
        batch_norm=None,
        config_json=json.dumps({"scoring": {"input_size": system.input_size}}),
        data_fingerprint=system.data_fingerprint,
        hardware_json=json.dumps(hardware(1)),
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        seconds=seconds,
        plugins_json=json.dumps(plugin_hashes(plugins)) if (plugins := loaded_plugins()) else None,
        skipped_refs_json=None,
        cut_sentences=None,
        system=EXTERNAL,
        predictions_json=json.dumps(asdict(facts), sort_keys=True),
        **provenance,
    )


def recorded_split(root: Path, system: ExternalSystem, split: str) -> pd.Series | None:
    """Return the recorded row of a split, None where there is none."""
    path = record_path(root, system.run_id)
    if not path.exists():
        return None
    rows = read_table(path, record_schema())
    mine = rows[rows["split"] == split]
    return mine.iloc[0] if len(mine) and samples_path(root, system.run_id, split).exists() else None


def write_external(
    root: Path, record: RunRecord, scores: Scores, samples: pd.DataFrame, *, replace: bool = False
) -> None:
    """Add a split to the record of an external system: its samples first, then the record, both in one step each.

    A split that is replaced leaves the record before its samples change: after an interruption it counts as not scored.

    Raises:
        InputError: when the split was recorded meanwhile and `replace` is false, or another command holds the record.
    """
    with _lock(root, record.run_id):
        path = record_path(root, record.run_id)
        kept = read_table(path, record_schema()) if path.exists() else None
        if kept is not None:
            if not replace and record.split in set(kept["split"]):
                raise InputError(f"{record.run_id} has {record.split} already", "Give --replace to record it anew")
            kept = _without(kept, record.split, path)
        write_table(samples_path(root, record.run_id, record.split), samples, sample_schema())
        row = pd.DataFrame([record])
        for metric in added_metrics():
            row[metric.name] = pd.Series([scores.values.get(metric.name)], dtype="float64")
        _write(path, [*_rows_of(kept), *_rows_of(row)])


def record_public_scores(root: Path, run_id: str, split: str, scores: dict[str, dict[str, float]]) -> None:
    """Add what public evaluators print to the row of a split, next to what is there; NaN is stored as None.

    Raises:
        InputError: when another command holds the record.
    """
    new = {name: {key: _finite(value) for key, value in each.items()} for name, each in scores.items()}
    with _lock(root, run_id):
        path = record_path(root, run_id)
        rows = _rows_of(read_table(path, record_schema()))
        row = next(row for row in rows if row["split"] == split)
        known = json.loads(row["public_scores_json"] or "{}")
        if known != {**known, **new}:
            row["public_scores_json"] = json.dumps({**known, **new})
            _write(path, rows)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _without(kept: pd.DataFrame, split: str, path: Path) -> pd.DataFrame:
    """Take a split out of the record on disk, if it is there; return the other rows."""
    others = kept[kept["split"] != split]
    if len(others) == 0:
        path.unlink()
    elif len(others) < len(kept):
        _write(path, _rows_of(others))
    return others


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = [name for name in record_schema().names if name != "schema_version"]
    write_table(path, pd.DataFrame(rows, columns=columns).sort_values("split"), record_schema())


def _rows_of(frame: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return rows as dictionaries with None for nulls, so that integers next to nulls stay integers."""
    if frame is None:
        return []
    rows = frame.to_dict("records")
    return [{str(name): None if _is_null(value) else value for name, value in row.items()} for row in rows]


def _is_null(value: Any) -> bool:
    return not hasattr(value, "__len__") and bool(pd.isna(value))


@contextmanager
def _lock(root: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of a run, which `sharedris runs rm` takes too; a run that is not recorded leaves nothing."""
    folder = root / "state" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "driver.lock", timeout=_LOCK_SECONDS):
            try:
                yield
            finally:
                if not record_path(root, run_id).exists():
                    shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise InputError(f"{run_id} is being written by another command", "Wait for it and run this again") from None
