"""Read what the runs left: records, costs, samples, histories. Bad files become one clear line each, not the end.

Everything comes back as a frame together with `problems`, the lines that the report prints at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from pipeline.evaluation.metrics import record_schema
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.records import (
    COST_SCHEMA,
    HISTORY_SCHEMA,
    RecordError,
    history_path,
    list_runs,
    read_columns,
    read_table,
    record_path,
    samples_path,
)
from reports.json_text import section_of
from reports.same_training import join_same_trainings

CELL_KEYS = ["variant", "scale", "trained_on", "recipe", "seed", "split", "protocol"]
"""What one number of a table is measured for: two runs that agree in all of it claim the same cell."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """All records below a root: one row per run, split and protocol.

    Two columns are added: `trained_on` (sets joined by " + ") and `training` ("own", "combined" or "other").

    `claims` holds the rows that were left out because two runs claim the same cell, `external` those of masks that
    others predicted, which belong to no cell of an ablation.
    """

    root: Path
    records: pd.DataFrame
    claims: pd.DataFrame
    external: pd.DataFrame = field(default_factory=lambda: record_schema().empty_table().to_pandas())
    problems: tuple[str, ...] = field(default=())

    @property
    def every(self) -> pd.DataFrame:
        """All rows: records, claims and external ones."""
        there = [rows for rows in (self.records, self.claims, self.external) if len(rows)]
        return pd.concat(there) if there else self.records

    def rows_of(self, run_id: str) -> pd.DataFrame:
        """Return the rows of one run, with integers as integers."""
        for rows in (self.records, self.claims, self.external):
            if len(mine := rows[rows["run_id"] == run_id]):
                return mine
        return self.records.iloc[:0]

    @cached_property
    def run_ids(self) -> list[str]:
        """Ids of the runs that can be shown, in order of their start."""
        return list(self.records.sort_values(["started", "run_id"])["run_id"].unique())

    def samples(self, run_id: str, split: str, columns: Sequence[str]) -> pd.DataFrame:
        """Return the named columns of a run's per-sample rows, sorted by `index`.

        Raises:
            RecordError: when the file is missing, damaged or of another schema version.
        """
        return read_samples(samples_path(self.root, run_id, split), columns)

    def input_size(self, run_id: str) -> int:
        """Return the side of the model's input of a run, in pixels."""
        config_json = self.every.loc[self.every["run_id"] == run_id, "config_json"].iloc[0]
        if scoring := section_of(config_json, "scoring"):
            return int(scoring.get("input_size") or 0)
        encoder = section_of(config_json, "model").get("encoder")
        try:
            return int(encoder["image_size"])  # type: ignore[index]  # anything but a dictionary is refused below
        except (TypeError, KeyError, ValueError, OverflowError):
            raise RecordError(f"{run_id}: its config names no image size", "Move the record away") from None

    def history(self, run_id: str) -> pd.DataFrame:
        """Return the per-epoch rows of a run.

        Raises:
            RecordError: when the file is missing, damaged or of another schema version.
        """
        return read_table(history_path(self.root, run_id), HISTORY_SCHEMA)


def load_runs(root: Path) -> Runs:
    """Read all records below a root; those that cannot be read are left out and told about in `problems`."""
    frames: list[pd.DataFrame] = []
    others: list[pd.DataFrame] = []
    problems: list[str] = []
    for run_id in list_runs(root):
        try:
            rows = read_table(record_path(root, run_id), record_schema())
        except RecordError as error:
            problems.append(f"record left out: {error}")
        else:  # apart: next to a null of a training, an integer of a frame would become a float
            (others if rows["system"].notna().any() else frames).append(rows)
    external = pd.concat(others, ignore_index=True) if others else record_schema().empty_table().to_pandas()
    external = external.assign(trained_on="", training="external")
    if not frames:
        if not others:
            problems.append(f"no records in {root / 'records'}: run a sweep first (make sweep-fpn)")
        empty = record_schema().empty_table().to_pandas()
        empty = empty.assign(trained_on=pd.Series(dtype="str"), training=pd.Series(dtype="str"))
        return Runs(root=root, records=empty, claims=empty, external=external, problems=tuple(problems))
    records = pd.concat(frames, ignore_index=True)
    records["trained_on"] = [" + ".join(sorted(sets)) for sets in records["train_sets"]]
    records["training"] = [
        _training(split, list(sets)) for split, sets in zip(records["split"], records["train_sets"], strict=True)
    ]
    records, joined = join_same_trainings(records)
    records, claims, more = _drop_double_claims(records)
    return Runs(root=root, records=records, claims=claims, external=external, problems=(*problems, *joined, *more))


def _training(split: str, sets: list[str]) -> str:
    """Say what a row was trained on: its split's "own" set alone, several "combined" with it, or "other" sets."""
    if split.partition("/")[0] not in sets:
        return "other"
    return "own" if len(sets) == 1 else "combined"


def _drop_double_claims(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Leave out cells which two runs claim: the report never picks one of them in silence."""
    claimed = records.duplicated(CELL_KEYS, keep=False)
    problems = []
    for _, rows in records[claimed].groupby(["variant", "scale", "trained_on", "recipe", "seed"]):
        runs = sorted(rows["run_id"].unique())
        row = rows.iloc[0]
        problems.append(
            f"{len(runs)} records claim one cell ({row['variant']}, seed {row['seed']}, {row['scale']}): "
            f"{', '.join(runs)}; none is shown: move all but one out of records/"
        )
    return records[~claimed].reset_index(drop=True), records[claimed].reset_index(drop=True), problems


def load_costs(root: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the measured costs of all variants and scales (COST_SCHEMA) and the problems met."""
    frames, problems = [], []
    for path in sorted((Path(root) / "costs").glob("*/*.parquet")):
        try:
            frames.append(read_table(path, COST_SCHEMA))
        except RecordError as error:
            problems.append(f"costs left out: {error}")
    if not frames:
        return COST_SCHEMA.empty_table().to_pandas(), problems
    return pd.concat(frames, ignore_index=True), problems


def read_samples(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read only the named columns of a file of per-sample rows (5 million rows stay small that way).

    Raises:
        RecordError: when the file is missing, damaged or of another schema version, or lacks a value of a column that
            an added metric or protocol needs.
    """
    wanted = ["index", *(name for name in columns if name != "index")]
    if not path.exists():
        raise RecordError(f"{path} does not exist: a record without its samples", "Evaluate the run again")
    rows = read_columns(path, sample_schema(), wanted)
    empty = [name for name in wanted if len(rows) and rows[name].isna().any()]
    if empty:
        raise RecordError(
            f"{path} has no values of {', '.join(empty)}",
            "sharedris runs rescore RUN adds them, but not to external masks",
        )
    index = rows["index"].to_numpy()
    return rows if (index[1:] > index[:-1]).all() else rows.sort_values("index", ignore_index=True)
