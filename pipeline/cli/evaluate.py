"""`sharedris evaluate`: score the exported model of a run on any split.

The first word decides what happens: a folder has its scores printed, a run's id has them added to its record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.cli.common_options import require_positive
from pipeline.cli.evaluate_options import Options
from pipeline.cli.machine_output import print_json
from pipeline.data.catalog import parse_split
from pipeline.evaluation.named_rules import NAMED_RULES, check_rule_names
from pipeline.files import require_writable
from sharedris.config import Precision
from sharedris.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.data.dataset.refer_dataset import ReferDataset
    from pipeline.evaluation.metrics import Scores
    from pipeline.evaluation.protocols import Protocol
    from pipeline.evaluation.public_evaluators.evaluator import PublicEvaluator

_ONLY_OF_A_MODEL = ("precision", "threshold", "protocol", "out")


def run(options: Options) -> int:
    """Print the scores of a model folder, or add them to the records of runs."""
    require_positive(options, "batch_size", "workers")
    models, splits = _read_words(options.words)
    if any(Path(name).is_dir() or "/" in name for name in models):
        if len(models) > 1:
            raise InputError(f"{len(models)} models are given: {', '.join(models)}", "Give one folder, or ids of runs")
        if options.threshold_curve:
            raise InputError("--threshold-curve is stored with a run", "Give the run's id, or --threshold to print")
        return _print_scores(options, Path(models[0]), splits)
    for name in _ONLY_OF_A_MODEL:
        if getattr(options, name):
            raise InputError(f"--{name} prints and is not recorded", "Give the run's model folder: runs/models/RUN")
    from pipeline.cli.evaluate_runs import evaluate_runs

    return evaluate_runs(options, models, splits)


def _read_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return models or runs, and the splits after them: the first word names a model whatever it looks like."""
    is_split = [place > 0 and word.count("/") == 1 and not Path(word).is_dir() for place, word in enumerate(words)]
    models = [word for word, split in zip(words, is_split, strict=True) if not split]
    splits = [word for word, split in zip(words, is_split, strict=True) if split]
    if not splits:
        raise InputError(f"no split is named in {' '.join(words)}", "Write SET/SPLIT, for example refcoco_unc/testA")
    for split in splits:
        parse_split(split)
    return models, list(dict.fromkeys(splits))


def _print_scores(options: Options, model: Path, splits: list[str]) -> int:
    """Evaluate in this process and print the scores of all protocols."""
    if len(splits) > 1 and (options.out is not None or options.json):
        raise InputError("--out and --json take one split", "Call the command once per split")
    for split in splits:
        _print_split(options, model, split)
    return 0


def _print_split(options: Options, model: Path, split: str) -> None:
    import torch

    from pipeline.config import EvaluationConfig
    from pipeline.distributed.process_group import Worker
    from pipeline.evaluation.evaluate import evaluate_split
    from pipeline.evaluation.metrics import score
    from pipeline.evaluation.named_rules import extra_rules, named_evaluators
    from pipeline.evaluation.protocols import PROTOCOLS
    from pipeline.evaluation.split_samples import split_of_model
    from pipeline.monitoring.progress_bar import sample_bar
    from pipeline.precision import numerics
    from sharedris.checkpoint import load_model

    _check(options)
    cuda = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    worker = Worker(device=torch.device("cuda", 0) if cuda else torch.device("cpu"))
    loaded = load_model(model, worker.device)
    encoder = loaded.config.encoder
    dataset = split_of_model(options.prepared, split, loaded)
    cut = f"{dataset.cut_sentences():,} of {len(dataset):,} sentences cut to T {encoder.text_tokens}"
    print(f"{split}: {dataset.unknown_pieces()}; {cut}")
    precision = cast(Precision, options.precision or loaded.precision)
    evaluation = EvaluationConfig(threshold=loaded.threshold, batch_size=options.batch_size or 1)
    extra = extra_rules(loaded.config, options.protocol, options.threshold)
    public = named_evaluators(loaded.config, options.protocol)
    _require_no_target(public, dataset, split)
    with sample_bar(split) as on_progress, numerics("float32", deterministic=False):
        rows = evaluate_split(
            loaded.model,
            dataset,
            evaluation=evaluation,
            precision=precision,
            worker=worker,
            loader_workers=options.loader_workers,
            extra=tuple(extra.values()),
            on_progress=on_progress,
        )
    rules = {**PROTOCOLS, **extra}
    as_public = {evaluator.name: evaluator.scores_of_rows(rows) for evaluator in public}
    scores = {name: score(rows, protocol, input_size=encoder.image_size) for name, protocol in rules.items()}
    _write_files(options, rows, extra)
    if options.json:
        print_json({**{name: flat(values) for name, values in scores.items()}, **as_public})
    _print(split, scores)
    _print_rules(extra, public, as_public)


def _write_files(options: Options, rows: pd.DataFrame, extra: dict[str, Protocol]) -> None:
    from pipeline.evaluation.sample_columns import sample_schema
    from pipeline.predictions.mask_lines import write_mask_lines
    from pipeline.records import write_table

    if options.out is not None:
        write_table(options.out, rows, sample_schema(extra))
    if options.save_masks is not None:
        write_mask_lines(options.save_masks, rows)


def _check(options: Options) -> None:
    """Refuse bad arguments before the model is loaded."""
    check_rule_names(options.protocol)
    if options.out is not None:
        require_writable(options.out.parent, "--out")
    if options.save_masks is not None:
        require_writable(options.save_masks.parent, "--save-masks")
    for threshold in options.threshold:
        if not 0.0 < threshold < 1.0:
            raise InputError(f"--threshold {threshold} is not a probability", "Give a value between 0 and 1")


def _require_no_target(public: list[PublicEvaluator], dataset: ReferDataset, split: str) -> None:
    """Check before the model runs whether a split has the samples that an evaluator needs."""
    if public:
        has_any = any(dataset.info(index).area_ratio == 0 for index in range(len(dataset)))
        for evaluator in public:
            evaluator.require_no_target(has_any, split)


def _print_rules(
    extra: dict[str, Protocol], public: list[PublicEvaluator], scores: dict[str, dict[str, float]]
) -> None:
    for name in extra:
        if name in NAMED_RULES:
            print(f"{name}: {NAMED_RULES[name].rule}")
    for evaluator in public:
        print("\n".join(evaluator.lines(scores[evaluator.name])))


def _print(split: str, scores: dict[str, Scores]) -> None:
    from pipeline.evaluation.metrics import metrics_of

    first = scores["original"]
    shown = [each for each in metrics_of("main", "detail") if not each.no_target or first.values[each.name] is not None]
    print(f"{split}: {first.samples} samples, {first.images} images, {first.empty_unions} with both masks empty")
    widths = {metric.name: max(8, len(metric.heading) + 2) for metric in shown}
    column = max(10, *(len(name) + 2 for name in scores))
    print(f"{'protocol':<{column}}" + "".join(f"{metric.heading:>{widths[metric.name]}}" for metric in shown))
    for name, of_protocol in scores.items():
        found = {metric.name: of_protocol.values[metric.name] for metric in shown}
        texts = {metric.name: "-" if (value := found[metric.name]) is None else metric.text(value) for metric in shown}
        print(f"{name:<{column}}" + "".join(f"{text:>{widths[metric]}}" for metric, text in texts.items()))
    trivial = ", ".join(
        f"{metric.heading} {metric.text(value)}"
        for metric in metrics_of("trivial")
        if (value := first.values[metric.name]) is not None
    )
    print(f"trivial (original): {trivial}")


def flat(scores: Scores) -> dict[str, Any]:
    """Return counts and metrics of one protocol by name, as `--json` prints them."""
    counts = asdict(scores)
    values = counts.pop("values")
    return {**counts, **values}
