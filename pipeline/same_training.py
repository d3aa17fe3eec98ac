"""Finds the run that is the same training as a config: everything agrees except the splits that it is scored on.

The splits stay in a run's hash, so every id that exists keeps its value. They are left out where a run is looked up:
`resolve_job` takes the id of a run that was trained alike, and only the splits that its record lacks are evaluated.

Where two runs exist that differ only in splits (records of before), each keeps its id, record and samples. A config
with the splits of one of them finds that one, and any other config finds the one that was started first.
"""

from __future__ import annotations

import functools
import glob
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import CONFIG_VERSION, ExecutionConfig, RunConfig
from pipeline.data.prepared.manifest import data_fingerprint
from pipeline.files import read_json, write_json
from pipeline.identity import canonical, digest
from pipeline.records import RECORD_SCHEMA, RecordError, read_columns, record_path
from sharedris.errors import InputError

_COLUMNS = ("split", "content_hash", "config_json", "data_fingerprint", "started")


@dataclass(frozen=True, kw_only=True)
class Training:
    """What decides whether two runs are the same training, as a record or a state folder holds it."""

    content_hash: str
    config_json: str
    data_fingerprint: str
    started: str = ""
    splits: frozenset[str] = frozenset()  # that the record holds


def read_training(path: Path) -> Training | None:
    """Return the training of a record, read again when it changes; None for a missing or unreadable file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _read_unchanged(path, found.st_ino, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _read_unchanged(path: Path, *state: int) -> Training | None:
    try:
        rows = read_columns(path, RECORD_SCHEMA, _COLUMNS)
    except RecordError:
        return None
    if rows.empty:
        return None
    first = {name: str(rows[name].iloc[0]) for name in _COLUMNS if name != "split"}
    return Training(**first, splits=frozenset(rows["split"]))


def write_training(state_folder: Path, config: RunConfig, fingerprint: str, content_hash: str) -> None:
    """Write what an unfinished run trains next to its checkpoints, so that it is found under other splits too."""
    values = {"config": canonical(config), "data_fingerprint": fingerprint, "content_hash": content_hash}
    if read_json(_marker(state_folder)) != json.loads(json.dumps(values)):
        write_json(_marker(state_folder), values)


def _marker(state_folder: Path) -> Path:
    return state_folder / "training.json"


def with_splits_of_same_training(config: RunConfig, execution: ExecutionConfig, fingerprint: str) -> RunConfig:
    """Return the config with the splits of the run that is the same training; unchanged where there is none.

    Args:
        config: with the hash of its starting weights.
        fingerprint: of the data of the config as it is.
    """
    root, own = Path(execution.runs_root), config.run_id(fingerprint)
    if record_path(root, own).exists():
        return config
    prefix = own.rpartition("-")[0]
    wanted = _without_splits(canonical(config))
    recorded = [
        training
        for path in sorted((root / "records").glob(f"{glob.escape(prefix)}-*.parquet"))
        if (training := read_training(path)) is not None
    ]
    for training in sorted(recorded, key=lambda each: (each.started, each.content_hash)):
        if _is_same(training, wanted, execution):
            return _with_splits(config, training)
    if not _has_checkpoint(root / "state" / own):
        for folder in sorted((root / "state").glob(f"{glob.escape(prefix)}-*")):
            started = _read_marker(folder)
            if started is not None and _has_checkpoint(folder) and _is_same(started, wanted, execution):
                return _with_splits(config, started)
    return config


def _has_checkpoint(state_folder: Path) -> bool:
    return any(state_folder.glob("checkpoint-*.json"))


def _read_marker(state_folder: Path) -> Training | None:
    values: Any = read_json(_marker(state_folder))
    try:
        return Training(
            content_hash=str(values["content_hash"]),
            config_json=json.dumps(values["config"], sort_keys=True),
            data_fingerprint=str(values["data_fingerprint"]),
        )
    except (TypeError, KeyError):  # no file, or a damaged one
        return None


def _is_same(training: Training, wanted: dict[str, Any], execution: ExecutionConfig) -> bool:
    """Whether config and data agree but for the splits; the hash shows that config and data are those of the id."""
    try:
        config = json.loads(training.config_json)
        if _without_splits(config) != wanted:
            return False
        got = digest({"config": config, "data": training.data_fingerprint}, version=CONFIG_VERSION)
        sets = {*config["data"]["train_sets"], *(split.split("/")[0] for split in config["data"]["evaluate_splits"])}
        data = data_fingerprint(execution.prepared_root, sorted(sets | set(_selection_sets(config))))
    except (ValueError, KeyError, TypeError, AttributeError, InputError):
        return False  # a damaged record, or a set that is not prepared here: nothing shows that the data is the same
    return got == training.content_hash and data == training.data_fingerprint


def _selection_sets(config: dict[str, Any]) -> list[str]:
    """Return the set of the split that selects the checkpoint, of a canonical config: it is part of the data."""
    selection = str(config["train"].get("checkpoint_selection", "last"))
    return [] if selection == "last" else [selection.partition(":")[2].split("/")[0]]


def _without_splits(config: dict[str, Any]) -> dict[str, Any]:
    """Return a canonical config as JSON holds it, without the splits."""
    values: dict[str, Any] = json.loads(json.dumps(config))
    values["data"].pop("evaluate_splits")
    return values


def _with_splits(config: RunConfig, training: Training) -> RunConfig:
    splits = tuple(json.loads(training.config_json)["data"]["evaluate_splits"])
    return replace(config, data=replace(config.data, evaluate_splits=splits))
