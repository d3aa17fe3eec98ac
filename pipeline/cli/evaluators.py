"""`sharedris evaluators`: what public code measures, and its scores on the masks of any per-sample file."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from sharedris.errors import InputError

if TYPE_CHECKING:
    from pipeline.evaluation.public_evaluators.counts import MaskCounts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whose masks are counted, and by which evaluators."""
    parser.add_argument(
        "rows",
        type=Path,
        nargs="?",
        metavar="ROWS",
        help="per-sample file: runs/samples/RUN/SET/SPLIT.parquet, or what `evaluate --out` wrote; without it, the "
        "table of who measures what is printed",
    )
    parser.add_argument(
        "--masks",
        metavar="PROTOCOL",
        help="whose masks of the file are counted (default: original; input, where the file has no others)",
    )
    parser.add_argument(
        "--name", nargs="+", default=[], metavar="NAME", help="print all scores, the rule and the faults of these"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON, NaN as null")


def run(args: argparse.Namespace) -> int:
    """Print the table that the arguments ask for; an evaluator that is named must be able to score the file."""
    from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS, public_evaluator
    from pipeline.evaluation.public_evaluators.tables import on_the_same_masks, who_measures_what

    named = [public_evaluator(name) for name in dict.fromkeys(args.name)]
    if args.rows is None:
        if named or args.json or args.masks:
            raise InputError("--name, --masks and --json go with a per-sample file", "Give one: runs/samples/RUN/...")
        print(who_measures_what())
        return 0
    counts = _counts(args.rows, args.masks)
    chosen = named or [each for each in PUBLIC_EVALUATORS.values() if each.can_score(counts)]
    scores = {evaluator.name: evaluator.scores(counts) for evaluator in chosen}
    if args.json:
        whole = {name: {key: None if math.isnan(x) else x for key, x in of.items()} for name, of in scores.items()}
        print(json.dumps(whole, indent=1))
    elif named:
        print("\n".join(line for each in named for line in each.lines(scores[each.name])))
    else:
        print(on_the_same_masks(scores))
    return 0


def _counts(path: Path, masks: str | None) -> MaskCounts:
    """Return the counts of a file's masks; those of external masks compared at the input size have no others."""
    from pipeline.evaluation.named_rules import NAMED_RULES
    from pipeline.evaluation.protocols import PROTOCOLS
    from pipeline.evaluation.public_evaluators.counts import counts_of
    from pipeline.records import SAMPLE_SCHEMA, read_table

    rows = read_table(path, SAMPLE_SCHEMA)
    rules = {**PROTOCOLS, **NAMED_RULES}
    there = [name for name in rules if f"union_{name}" in rows and rows[f"union_{name}"].notna().all()]
    if not there:
        raise InputError(f"{path} has no counts of masks", "Write it with `sharedris evaluate --out`")
    name = masks or next(name for name in ("original", "input", *there) if name in there)
    if name not in there:
        raise InputError(f"{path} has no masks of {name!r}", f"It has those of: {', '.join(there)}")
    return counts_of(rows, rules[name])
