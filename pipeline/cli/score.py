"""`sharedris score`: score anybody's masks on a prepared split, and record them like a run."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.cli.common_options import known
from pipeline.cli.machine_output import print_json
from pipeline.cli.score_options import Options
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS
from pipeline.files import require_writable
from pipeline.object_store.opened import SCORES
from pipeline.predictions.registry import PREDICTION_READERS
from sharedris.errors import InputError, printable

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.predictions.external_record import ExternalSystem, PredictionFacts
    from pipeline.predictions.public_scores import PublicScores
    from pipeline.predictions.targets import Targets
READS = SCORES
"""Of runs in an object store."""


def run(options: Options) -> int:
    """Score the predictions, record them and print the scores; does nothing where they are recorded already."""
    from pipeline.data.prepared.manifest import data_fingerprint
    from pipeline.evaluation.check import check_scoring
    from pipeline.predictions.digest import predictions_digest
    from pipeline.predictions.external_record import ExternalSystem, PredictionFacts, recorded_split
    from pipeline.predictions.registry import choose_reader
    from pipeline.predictions.targets import Targets
    from sharedris.plugins import loaded_plugins

    _check_names(options)
    input_size = _input_size(options)
    require_writable(options.runs, "--runs")
    if loaded_plugins():  # which may add metrics
        check_scoring()
    targets = Targets(options.prepared, _split_in_full(options), input_size=input_size)
    system = ExternalSystem(
        name=options.name,
        set_name=targets.manifest.set,
        data_fingerprint=data_fingerprint(options.prepared, [targets.manifest.set]),  # as a run on this set has it
        input_size=input_size,
    )
    facts = PredictionFacts(
        name=options.name,
        paper=options.paper,
        source=options.predictions.name,
        form=choose_reader(options.predictions, options.format),
        sha256=predictions_digest(options.predictions),
        input_size=input_size,
    )
    found = recorded_split(options.runs, system, targets.split)
    if found is not None and not options.replace:
        _require_same(found, facts, system, options)
        print(f"{system.run_id}: {targets.split} is recorded; nothing to do", file=sys.stderr)
    else:
        _score(options, targets, system, facts)
    _print(options, system, targets.split)
    return 0


def _check_names(options: Options) -> None:
    """Refuse names that no registry has; those of plugins are known."""
    if options.format is not None:
        known(PREDICTION_READERS, options.format, "--format")
    for name in options.evaluator:
        known({**PUBLIC_EVALUATORS, "all": None}, name, "--evaluator")


def _input_size(options: Options) -> int | None:
    """Return the side of the comparison, None for the images' own sizes."""
    if options.at == "original":
        if options.input_size is not None:
            raise InputError("--input-size goes with --at input", "Give both, or neither")
        return None
    if options.input_size is None or not 1 <= options.input_size <= 4096:
        raise InputError("--at input needs --input-size between 1 and 4096", "Give the side of the masks in pixels")
    return int(options.input_size)


def _split_in_full(options: Options) -> str:
    set_name, slash, part = options.split.rpartition("/")
    if slash and set_name != options.data:
        raise InputError(f"--split {options.split} is not of --data {options.data}", f"Write --split {part}")
    return f"{options.data}/{part}"


def _require_same(found: pd.Series, facts: PredictionFacts, system: ExternalSystem, options: Options) -> None:
    """Refuse to keep a recorded split where other predictions are given, or other permissions."""
    recorded = json.loads(found["predictions_json"])
    others = [name for name in ("sha256", "form", "paper") if recorded[name] != getattr(facts, name)]
    others += ["--allow-missing"] if recorded["missing"] and not options.allow_missing else []
    others += ["--allow-unknown"] if recorded["unknown"] and not options.allow_unknown else []
    if others:
        raise InputError(
            f"{system.run_id} has {found['split']} recorded with another {', '.join(others)} ({recorded['source']})",
            "Give --replace to record this split anew, or another --name",
        )


def _score(options: Options, targets: Targets, system: ExternalSystem, facts: PredictionFacts) -> None:
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
            PREDICTION_READERS[facts.form].read(options.predictions),
            allow_missing=options.allow_missing,
            allow_unknown=options.allow_unknown,
            on_progress=on_progress,
        )
    if options.evaluator:  # one that cannot score the split is refused before anything is recorded
        public_scores(scored.samples, system.protocol, options.evaluator)
    scores = score(scored.samples, PROTOCOLS[system.protocol], input_size=system.input_size or 0)
    facts = dataclasses.replace(facts, missing=scored.missing, unknown=scored.unknown)
    record = external_record(
        system, targets.split, facts, scores, seconds=time.perf_counter() - begun, provenance=collect()
    )
    write_external(options.runs, record, scores, scored.samples, replace=options.replace)


def _print(options: Options, system: ExternalSystem, split: str) -> None:
    """Print the scores of a recorded split."""
    from pipeline.evaluation.sample_columns import sample_schema
    from pipeline.predictions.external_record import record_public_scores, recorded_split
    from pipeline.predictions.public_scores import public_scores
    from pipeline.records import read_table, samples_path

    row = recorded_split(options.runs, system, split)
    assert row is not None
    by_code: dict[str, PublicScores] = {}
    if options.evaluator:
        samples = read_table(samples_path(options.runs, system.run_id, split), sample_schema())
        by_code = public_scores(samples, system.protocol, options.evaluator)
        own_size = {name: each.scores for name, each in by_code.items() if each.scores and not each.remark}
        record_public_scores(options.runs, system.run_id, split, own_size)
    if options.json:
        values = _values(row) | (
            {"evaluators": {name: asdict(each) for name, each in by_code.items()}} if by_code else {}
        )
        print_json(values)
        return
    for line in [*_lines(row), *_lines_by_code(by_code)]:
        print(printable(line))


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
