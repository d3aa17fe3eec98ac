"""`sharedris score`: score anybody's masks on a prepared split, and record them like a run."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS
from pipeline.files import require_writable
from pipeline.object_store.address import runs_folder
from pipeline.predictions.registry import PREDICTION_READERS
from sharedris.errors import InputError, printable

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.predictions.external_record import ExternalSystem, PredictionFacts
    from pipeline.predictions.public_scores import PublicScores
    from pipeline.predictions.targets import Targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is scored, on what, and under which name it is recorded."""
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="a file or folder of masks; forms: docs/score.md"
    )
    parser.add_argument("--set", required=True, help="prepared set in full: refcoco+_unc")
    parser.add_argument("--split", required=True, help="split of the set: val")
    parser.add_argument("--name", required=True, help="of the system, as tables print it: LAVT")
    parser.add_argument("--paper", default="", help="title, address or bibliography key of the system's paper")
    parser.add_argument(
        "--format", choices=PREDICTION_READERS, help="form of the predictions (default: the content decides)"
    )
    parser.add_argument(
        "--at",
        choices=["original", "input"],
        default="original",
        help="size of the masks: that of each image, or the model's input size, against the true mask resized nearest "
        "(default: %(default)s)",
    )
    parser.add_argument("--input-size", type=int, metavar="N", help="side of the masks in pixels, with --at input")
    parser.add_argument(
        "--allow-missing", action="store_true", help="score expressions without a prediction as empty masks"
    )
    parser.add_argument(
        "--allow-unknown", action="store_true", help="leave out predictions for expressions of other splits"
    )
    parser.add_argument(
        "--evaluator",
        nargs="+",
        default=[],
        choices=[*PUBLIC_EVALUATORS, "all"],
        help="print also what these papers' public code prints for the same masks (docs/protocols.md)",
    )
    parser.add_argument("--replace", action="store_true", help="record this split anew with other predictions")
    parser.add_argument("--prepared", default="data/prepared", help="root of prepared sets (default: %(default)s)")
    parser.add_argument(
        "--runs", type=runs_folder, default=Path("runs"), help="root of the runs (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")


def run(args: argparse.Namespace) -> int:
    """Score the predictions, record them and print the scores; does nothing where they are recorded already."""
    from pipeline.data.prepared.manifest import data_fingerprint
    from pipeline.evaluation.check import check_scoring
    from pipeline.predictions.digest import predictions_digest
    from pipeline.predictions.external_record import ExternalSystem, PredictionFacts, recorded_split
    from pipeline.predictions.registry import choose_reader
    from pipeline.predictions.targets import Targets
    from sharedris.plugins import loaded_plugins

    input_size = _input_size(args)
    require_writable(args.runs, "--runs")
    if loaded_plugins():  # which may add metrics
        check_scoring()
    targets = Targets(args.prepared, _split_in_full(args), input_size=input_size)
    system = ExternalSystem(
        name=args.name,
        set_name=targets.manifest.set,
        data_fingerprint=data_fingerprint(args.prepared, [targets.manifest.set]),  # as a run on this set has it
        input_size=input_size,
    )
    facts = PredictionFacts(
        name=args.name,
        paper=args.paper,
        source=args.predictions.name,
        form=choose_reader(args.predictions, args.format),
        sha256=predictions_digest(args.predictions),
        input_size=input_size,
    )
    found = recorded_split(args.runs, system, targets.split)
    if found is not None and not args.replace:
        _require_same(found, facts, system, args)
        print(f"{system.run_id}: {targets.split} is recorded; nothing to do", file=sys.stderr)
    else:
        _score(args, targets, system, facts)
    _print(args, system, targets.split)
    return 0


def _input_size(args: argparse.Namespace) -> int | None:
    """Return the side of the comparison, None for the images' own sizes."""
    if args.at == "original":
        if args.input_size is not None:
            raise InputError("--input-size goes with --at input", "Give both, or neither")
        return None
    if args.input_size is None or not 1 <= args.input_size <= 4096:
        raise InputError("--at input needs --input-size between 1 and 4096", "Give the side of the masks in pixels")
    return int(args.input_size)


def _split_in_full(args: argparse.Namespace) -> str:
    set_name, slash, part = args.split.rpartition("/")
    if slash and set_name != args.set:
        raise InputError(f"--split {args.split} is not of --set {args.set}", f"Write --split {part}")
    return f"{args.set}/{part}"


def _require_same(found: pd.Series, facts: PredictionFacts, system: ExternalSystem, args: argparse.Namespace) -> None:
    """Refuse to keep a recorded split where other predictions are given, or other permissions."""
    recorded = json.loads(found["predictions_json"])
    others = [name for name in ("sha256", "form", "paper") if recorded[name] != getattr(facts, name)]
    others += ["--allow-missing"] if recorded["missing"] and not args.allow_missing else []
    others += ["--allow-unknown"] if recorded["unknown"] and not args.allow_unknown else []
    if others:
        raise InputError(
            f"{system.run_id} has {found['split']} recorded with another {', '.join(others)} ({recorded['source']})",
            "Give --replace to record this split anew, or another --name",
        )


def _score(args: argparse.Namespace, targets: Targets, system: ExternalSystem, facts: PredictionFacts) -> None:
    import dataclasses

    from pipeline.evaluation.metrics import score
    from pipeline.evaluation.protocols import PROTOCOLS
    from pipeline.monitoring.progress_bar import sample_bar
    from pipeline.predictions.external_record import external_record, write_external
    from pipeline.predictions.public_scores import public_scores
    from pipeline.predictions.registry import PREDICTION_READERS
    from pipeline.predictions.score import score_predictions
    from pipeline.provenance import collect

    begun = time.perf_counter()
    with sample_bar(targets.split) as on_progress:
        scored = score_predictions(
            targets,
            PREDICTION_READERS[facts.form].read(args.predictions),
            allow_missing=args.allow_missing,
            allow_unknown=args.allow_unknown,
            on_progress=on_progress,
        )
    if args.evaluator:  # one that cannot score the split is refused before anything is recorded
        public_scores(scored.samples, system.protocol, args.evaluator)
    scores = score(scored.samples, PROTOCOLS[system.protocol], input_size=system.input_size or 0)
    facts = dataclasses.replace(facts, missing=scored.missing, unknown=scored.unknown)
    record = external_record(
        system, targets.split, facts, scores, seconds=time.perf_counter() - begun, provenance=collect()
    )
    write_external(args.runs, record, scores, scored.samples, replace=args.replace)


def _print(args: argparse.Namespace, system: ExternalSystem, split: str) -> None:
    """Print the scores of a recorded split."""
    from pipeline.evaluation.sample_columns import sample_schema
    from pipeline.predictions.external_record import record_public_scores, recorded_split
    from pipeline.predictions.public_scores import public_scores
    from pipeline.records import read_table, samples_path

    row = recorded_split(args.runs, system, split)
    assert row is not None
    by_code: dict[str, PublicScores] = {}
    if args.evaluator:
        samples = read_table(samples_path(args.runs, system.run_id, split), sample_schema())
        by_code = public_scores(samples, system.protocol, args.evaluator)
        own_size = {name: each.scores for name, each in by_code.items() if each.scores and not each.remark}
        record_public_scores(args.runs, system.run_id, split, own_size)
    if args.json:
        values = _values(row) | (
            {"evaluators": {name: asdict(each) for name, each in by_code.items()}} if by_code else {}
        )
        print(json.dumps(_finite(values), indent=1))
        return
    for line in [*_lines(row), *_lines_by_code(by_code)]:
        print(printable(line))


def _finite(values: Any) -> Any:
    """Return values with None for NaN, which JSON does not have."""
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _lines_by_code(by_code: dict[str, PublicScores]) -> list[str]:
    lines = []
    for name, each in by_code.items():
        lines += PUBLIC_EVALUATORS[name].lines(each.scores) if each.scores else [f"{name}: not scored"]
        lines += [f"  {each.remark}"] if each.remark else []
    return lines


def _values(row: pd.Series) -> dict[str, Any]:
    """Return what `--json` prints: the facts of the record, then each metric by name."""
    from pipeline.evaluation.metrics import METRICS

    facts = json.loads(row["predictions_json"])
    counts = {name: int(row[name]) for name in ("samples", "images", "empty_unions")}
    scores = {name: float(row[name]) for name in METRICS if name in row and row[name] == row[name]}
    return {"run_id": row["run_id"], "split": row["split"], "protocol": row["protocol"], **facts, **counts, **scores}


def _lines(row: pd.Series) -> list[str]:
    from pipeline.evaluation.metrics import METRICS

    values = _values(row)
    size = f" {values['input_size']}" if values["input_size"] else ""
    head = f"{values['split']}: {values['samples']} samples, {values['images']} images"
    lines = [
        f"{row['run_id']}",
        f"{head}, {values['empty_unions']} with both masks empty; protocol {values['protocol']}{size}",
        f"{values['form']} {values['source']}, SHA-256 {values['sha256'][:16]}",
    ]
    if values["missing"]:
        lines.append(f"{values['missing']} without a prediction, scored as empty masks")
    if values["unknown"]:
        lines.append(f"{values['unknown']} predictions for other expressions, left out")
    width = max(len(metric.heading) for metric in METRICS.values()) + 2
    shown = [metric for metric in METRICS.values() if values.get(metric.name) is not None]
    return lines + [f"{metric.heading:<{width}}{metric.text(values[metric.name]):>8}" for metric in shown]
