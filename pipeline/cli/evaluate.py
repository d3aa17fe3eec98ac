"""`sharedris evaluate`: score the exported model of a run on any split.

The first word decides what happens: a folder has its scores printed, a run's id has them added to its record.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.cli.run_options import add_curve_argument, positive_int
from pipeline.data.catalog import parse_split
from pipeline.evaluation.named_rules import NAMED_RULES, check_rule_names, rule_names
from pipeline.files import require_writable
from pipeline.object_store.address import runs_folder
from sharedris.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.data.dataset.refer_dataset import ReferDataset
    from pipeline.evaluation.metrics import Scores
    from pipeline.evaluation.protocols import Protocol
    from pipeline.evaluation.public_evaluators.evaluator import PublicEvaluator

_ONLY_OF_A_MODEL = ("precision", "threshold", "protocol", "out", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to score and where to write the rows."""
    parser.usage = "sharedris evaluate [options] MODEL SPLIT ...\n       sharedris evaluate [options] RUN ... SPLIT ..."
    parser.add_argument(
        "words",
        metavar="MODEL|RUN|SPLIT",
        nargs="+",
        help="MODEL: an exported model folder (runs/models/RUN); its scores are printed and not recorded. "
        "RUN: ids of runs, as `sharedris runs` lists them; the scores are added to their records, and a split that "
        "is there is not evaluated again. SPLIT: splits with their set (refcocog_umd/val). "
        "For all runs of a sweep: python -m sweeps evaluate SWEEP SPLIT",
    )
    parser.add_argument("--batch-size", type=positive_int, help="samples a forward (default: that of the run, 1)")
    parser.add_argument("--prepared", default="data/prepared", help="root of prepared sets (default: %(default)s)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument(
        "--precision",
        choices=["fp32", "bf16", "fp16"],
        help="precision on a GPU (default: that of the run)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        nargs="+",
        default=[],
        metavar="T",
        help="score at these thresholds too; the run and its id keep their own",
    )
    parser.add_argument(
        "--protocol",
        nargs="+",
        default=[],
        metavar="RULE",
        help="rules to score as well; paper_input thresholds the map, resizes to the model's input and scores there; "
        "lavt and others make and count masks as that public code does (docs/protocols.md); rows of CGFormer and DMMI "
        f"are scored by their own rule in any case; known: {', '.join(rule_names())}",
    )
    parser.add_argument("--loader-workers", type=int, default=0, help="processes that load data (default: %(default)s)")
    parser.add_argument("--runs", type=runs_folder, default=Path("runs"), help="root of the runs (default: runs)")
    parser.add_argument("--workers", type=positive_int, default=1, help="workers of a RUN, each on one CPU or GPU")
    parser.add_argument("--ray", action="store_true", help="use Ray Train even for one worker")
    parser.add_argument("--experiment", help="log a RUN to this MLflow experiment too")
    add_curve_argument(parser)
    parser.add_argument("--out", type=Path, help="write the per-sample rows to this parquet file")
    parser.add_argument(
        "--save-masks", type=Path, metavar="FILE.jsonl", help="write the masks of protocol original (docs/score.md)"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the scores of a model folder, or add them to the records of runs."""
    models, splits = _read_words(args.words)
    if any(Path(name).is_dir() or "/" in name for name in models):
        if len(models) > 1:
            raise InputError(f"{len(models)} models are given: {', '.join(models)}", "Give one folder, or ids of runs")
        if args.threshold_curve:
            raise InputError("--threshold-curve is stored with a run", "Give the run's id, or --threshold to print")
        return _print_scores(args, Path(models[0]), splits)
    for name in _ONLY_OF_A_MODEL:
        if getattr(args, name):
            raise InputError(f"--{name} prints and is not recorded", "Give the run's model folder: runs/models/RUN")
    from pipeline.cli.evaluate_runs import evaluate_runs

    return evaluate_runs(args, models, splits)


def _read_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Return models or runs, and the splits after them: the first word names a model whatever it looks like."""
    is_split = [place > 0 and word.count("/") == 1 and not Path(word).is_dir() for place, word in enumerate(words)]
    models = [word for word, split in zip(words, is_split, strict=True) if not split]
    splits = [word for word, split in zip(words, is_split, strict=True) if split]
    if not splits:
        raise InputError(f"no split is named in {' '.join(words)}", "Write SET/SPLIT, for example refcoco_unc/testA")
    for split in splits:
        parse_split(split)
    return models, list(dict.fromkeys(splits))


def _print_scores(args: argparse.Namespace, model: Path, splits: list[str]) -> int:
    """Evaluate in this process and print the scores of all protocols."""
    if len(splits) > 1 and (args.out is not None or args.json):
        raise InputError("--out and --json take one split", "Call the command once per split")
    for split in splits:
        _print_split(args, model, split)
    return 0


def _print_split(args: argparse.Namespace, model: Path, split: str) -> None:
    import torch

    from pipeline.config import EvaluationConfig
    from pipeline.data.dataset.refer_dataset import ReferDataset
    from pipeline.distributed.process_group import Worker
    from pipeline.evaluation.evaluate import evaluate_split
    from pipeline.evaluation.metrics import score
    from pipeline.evaluation.named_rules import extra_rules, named_evaluators
    from pipeline.evaluation.protocols import PROTOCOLS
    from pipeline.monitoring.progress_bar import sample_bar
    from sharedris.checkpoint import load_model
    from sharedris.config import Precision

    _check(args)
    cuda = args.device == "cuda" or (args.device == "auto" and torch.cuda.is_available())
    worker = Worker(device=torch.device("cuda", 0) if cuda else torch.device("cpu"))
    loaded = load_model(model, worker.device)
    encoder = loaded.config.encoder
    dataset = ReferDataset(
        args.prepared,
        split,
        image_size=encoder.image_size,
        text_tokens=encoder.text_tokens,
        tokenizer_path=loaded.tokenizer_path,  # the model's own, since the set may have been prepared with another one
    )
    if len(dataset) == 0:
        raise InputError(f"{split} has no samples", "Prepare a split that has some")
    cut = f"{dataset.cut_sentences():,} of {len(dataset):,} sentences cut to T {encoder.text_tokens}"
    print(f"{split}: {dataset.unknown_pieces()}; {cut}", file=sys.stderr if args.json else sys.stdout)
    precision = cast(Precision, args.precision or loaded.precision)
    evaluation = EvaluationConfig(threshold=loaded.threshold, batch_size=args.batch_size or 1)
    extra = extra_rules(loaded.config, args.protocol, args.threshold)
    public = named_evaluators(loaded.config, args.protocol)
    _require_no_target(public, dataset, split)
    with sample_bar(split) as on_progress:
        rows = evaluate_split(
            loaded.model,
            dataset,
            evaluation=evaluation,
            precision=precision,
            worker=worker,
            loader_workers=args.loader_workers,
            extra=tuple(extra.values()),
            on_progress=on_progress,
        )
    rules = {**PROTOCOLS, **extra}
    as_public = {evaluator.name: evaluator.scores_of_rows(rows) for evaluator in public}
    scores = {name: score(rows, protocol, input_size=encoder.image_size) for name, protocol in rules.items()}
    _write_files(args, rows, extra)
    if args.json:
        print(json.dumps({**{name: flat(values) for name, values in scores.items()}, **as_public}, indent=1))
        return
    _print(split, scores)
    _print_rules(extra, public, as_public)


def _write_files(args: argparse.Namespace, rows: pd.DataFrame, extra: dict[str, Protocol]) -> None:
    from pipeline.evaluation.sample_columns import sample_schema
    from pipeline.predictions.mask_lines import write_mask_lines
    from pipeline.records import write_table

    if args.out is not None:
        write_table(args.out, rows, sample_schema(extra))
    if args.save_masks is not None:
        write_mask_lines(args.save_masks, rows)


def _check(args: argparse.Namespace) -> None:
    """Refuse bad arguments before the model is loaded."""
    check_rule_names(args.protocol)
    if args.out is not None:
        require_writable(args.out.parent, "--out")
    if args.save_masks is not None:
        require_writable(args.save_masks.parent, "--save-masks")
    for threshold in args.threshold:
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
    return {**counts, **counts.pop("values")}
