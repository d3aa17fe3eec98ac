"""Reference points: what a shipped sweep gives, kept with its records, and the check of another run of it.

    sharedris report reference make  --runs runs --out benchmarks/reference/fpn-tiny
    sharedris report reference check benchmarks/reference/fpn-tiny --runs runs

`make` keeps records, histories, per-sample rows, costs and one seed's attention maps, so that the folder is a runs
folder for every report, and writes `expected.json`: mean and deviation of each row over its seeds, commits, machines.
`check` compares a sweep of the same recipe row by row.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from pipeline.evaluation.threshold_counts import thresholds_path
from pipeline.files import staged_folder
from pipeline.records import RecordError, history_path, record_path, samples_path
from reports.labels import in_order, variant_label
from reports.load import Runs

FILE = "expected.json"
SCHEMA = 1
FEWEST_SEEDS = 3
METRICS = ("oiou", "miou")
PROTOCOL = "original"
ALARM = 0.01
"""Chance that a check of the same code fails somewhere; every row and metric gets its share of it (Bonferroni)."""
LEAST_SHARE = 0.001
"""Scores closer than a tenth of a point are the same, also where three seeds happened to agree better."""


@dataclass(frozen=True, kw_only=True)
class ExpectedRow:
    """One row: scores as shares, over its seeds; `losses` has the mean training loss of each epoch."""

    seeds: tuple[int, ...]
    mean: dict[str, float]
    deviation: dict[str, float]
    losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The content of `expected.json`; rows by variant."""

    split: str
    scale: str
    recipe: str
    epochs: int
    samples: int
    commits: tuple[str, ...]
    machines: tuple[str, ...]
    rows: dict[str, ExpectedRow]


def measure_expected(runs: Runs, *, recipe: str = "", fewest_seeds: int = FEWEST_SEEDS) -> Expected:
    """Return what the runs of one recipe gave.

    Raises:
        RecordError: for no runs, several recipes or splits, or a row with too few seeds.
    """
    records = runs.records[runs.records["protocol"] == PROTOCOL]
    records = records[records["recipe"] == recipe] if recipe else records
    if records.empty:
        raise RecordError(f"no records to make a reference of in {runs.root}", "Run the sweep: make sweep-fpn SEEDS=3")
    for name, option in (("recipe", "--recipe"), ("split", "a folder with runs on one split")):
        found = sorted(records[name].unique())
        if len(found) > 1:
            raise RecordError(f"{runs.root} has several values of {name}: {', '.join(found)}", f"Name one: {option}")
    rows = {}
    for variant in in_order(records["variant"]):
        mine = records[records["variant"] == variant].sort_values("seed")
        if len(mine) < fewest_seeds:
            seeds = f"{len(mine)} seed{'s' if len(mine) > 1 else ''}"
            raise RecordError(
                f"{variant_label(variant)} has {seeds}, not {fewest_seeds}", "Run it with SEEDS=3 or more"
            )
        rows[variant] = ExpectedRow(
            seeds=tuple(int(seed) for seed in mine["seed"]),
            mean={metric: float(mine[metric].mean()) for metric in METRICS},
            deviation={metric: float(mine[metric].std(ddof=1)) for metric in METRICS},
            losses=tuple(_losses(runs, list(mine["run_id"]))),
        )
    first = records.iloc[0]
    return Expected(
        split=str(first["split"]),
        scale=str(first["scale"]),
        recipe=str(first["recipe"]),
        epochs=int(first["epochs"]),
        samples=int(first["samples"]),
        commits=tuple(sorted({_commit(row) for _, row in records.iterrows()})),
        machines=tuple(sorted({_machine(text) for text in records["hardware_json"]})),
        rows=rows,
    )


def _losses(runs: Runs, run_ids: list[str]) -> list[float]:
    histories = [runs.history(run_id) for run_id in run_ids]
    return [float(loss) for loss in pd.concat(histories).groupby("epoch")["loss"].mean()]


def _commit(record: pd.Series) -> str:
    return f"{str(record['git_commit'])[:12]}{' with changes' if record['git_dirty'] else ''}"


def _machine(text: str) -> str:
    """Return a machine in words: processor, cores, GPU; no name of a host."""
    facts = json.loads(text)
    cores = f", {facts['logical_cpus']} CPUs" if "logical_cpus" in facts else ""
    return f"{facts.get('processor') or facts.get('cpu') or 'unknown'}{cores}, GPU: {facts.get('gpu') or 'none'}"


def write_reference(runs: Runs, expected: Expected, folder: Path) -> int:
    """Keep the files of the runs below a folder, and `expected.json` last; return their bytes.

    Raises:
        RecordError: where the folder holds anything.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RecordError(f"{folder} is not empty", "Move it away, or name another folder for --out")
    records = runs.records[(runs.records["recipe"] == expected.recipe) & (runs.records["split"] == expected.split)]
    text = json.dumps({"schema": SCHEMA, **dataclasses.asdict(expected)}, indent=1, ensure_ascii=False)
    with staged_folder(folder) as stage:
        if (runs.root / "costs").exists():
            shutil.copytree(runs.root / "costs", stage / "costs")
        for run_id in records["run_id"].unique():
            for place in (record_path, history_path):
                _copy(place(runs.root, run_id), place(stage, run_id))
            _copy(samples_path(runs.root, run_id, expected.split), samples_path(stage, run_id, expected.split))
            if thresholds_path(runs.root, run_id, expected.split).exists():
                curve = thresholds_path(stage, run_id, expected.split)
                _copy(thresholds_path(runs.root, run_id, expected.split), curve)
        for run_id in records.sort_values("seed").drop_duplicates("variant")["run_id"]:
            if (runs.root / "attention" / run_id).exists():
                shutil.copytree(runs.root / "attention" / run_id, stage / "attention" / run_id)
        (stage / FILE).write_text(text + "\n", encoding="utf-8")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def read_expected(folder: Path) -> Expected:
    """Return the reference of a folder.

    Raises:
        RecordError: when the file is missing, damaged or of another schema.
    """
    path = folder / FILE
    remedy = f"Make it from a sweep: sharedris report reference make --runs RUNS --out {folder}"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("schema") != SCHEMA:
            raise RecordError(f"{path} has another schema than {SCHEMA}", remedy)
        rows = {variant: ExpectedRow(**_tuples(row)) for variant, row in values.pop("rows").items()}
        return Expected(**_tuples(values), rows=rows)
    except FileNotFoundError:
        raise RecordError(f"{path} does not exist", remedy) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path} cannot be read: {type(error).__name__}", remedy) from None


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The result of a check: all lines to print, and how many rows lie outside or are missing."""

    lines: tuple[str, ...]
    failures: int


def check_runs(expected: Expected, runs: Runs) -> Checked:
    """Compare the runs of the reference's recipe and split with it, row by row.

    A row fails where the mean of its seeds lies outside the prediction interval of the reference, whose deviation is
    pooled over all rows; and where it has no record. A row that has the reference's last training loss in nine tenths
    of the epochs converges faster: it is named and does not fail.

    Raises:
        RecordError: where no run has the recipe.
    """
    records = runs.records[(runs.records["protocol"] == PROTOCOL) & (runs.records["split"] == expected.split)]
    mine = records[records["recipe"] == expected.recipe]
    if mine.empty:
        others = ", ".join(sorted(records["recipe"].unique())) or "none"
        raise RecordError(
            f"no run in {runs.root} has the reference's recipe {expected.recipe} on {expected.split} (there: {others})",
            f"Run {expected.epochs} epochs at scale {expected.scale} on data of the same fingerprint",
        )
    lines, failures = [], 0
    for variant, row in expected.rows.items():
        of_row = mine[mine["variant"] == variant]
        label = variant_label(variant)
        if of_row.empty:
            lines.append(f"FAIL  {label}: no record")
            failures += 1
            continue
        found = [_compare(expected, row, metric, of_row[metric].to_numpy(dtype=float)) for metric in METRICS]
        is_inside = all(inside for inside, _ in found)
        failures += not is_inside
        lines.append(f"{'ok  ' if is_inside else 'FAIL'}  {label}: {'; '.join(words for _, words in found)}")
        lines += _faster(row, label, _losses(runs, list(of_row["run_id"])))
    return Checked(lines=tuple(lines), failures=failures)


def tolerance(expected: Expected, row: ExpectedRow, metric: str, seeds: int) -> float:
    """Return by how much the mean of `seeds` trainings may differ from the reference's (a share)."""
    parts = [(each.deviation[metric] ** 2, len(each.seeds) - 1) for each in expected.rows.values()]
    degrees = sum(count for _, count in parts)
    pooled = sum(variance * count for variance, count in parts) / degrees
    level = 1 - ALARM / (2 * len(expected.rows) * len(METRICS))
    error = (pooled * (1 / len(row.seeds) + 1 / seeds)) ** 0.5
    return max(LEAST_SHARE, float(stdtrit(degrees, level)) * error)


def _compare(expected: Expected, row: ExpectedRow, metric: str, values: np.ndarray) -> tuple[bool, str]:
    allowed, gap = tolerance(expected, row, metric, len(values)), float(values.mean()) - row.mean[metric]
    name = {"oiou": "oIoU", "miou": "mIoU"}[metric]
    words = f"{name} {100 * values.mean():.2f} (expected {100 * row.mean[metric]:.2f} ± {100 * allowed:.2f})"
    return abs(gap) <= allowed, words


def _faster(row: ExpectedRow, label: str, losses: list[float]) -> list[str]:
    """Name a row that has the reference's last loss early; in the last tenth of the epochs it may be chance."""
    goal, epochs = row.losses[-1], len(row.losses)
    reached = next((epoch for epoch, loss in enumerate(losses, start=1) if loss <= goal), None)
    if reached is None or reached > 0.9 * epochs:
        return []
    return [f"      {label} converges faster: the loss of epoch {epochs}, {goal:.4f}, is reached in epoch {reached}"]


if __name__ == "__main__":  # the spelling of before the one command
    import sys

    from pipeline.cli.main import main

    sys.exit(main(["report", "reference", *sys.argv[1:]]))
