"""`sharedris score evaluators`: what public code measures, and its scores on the masks of any per-sample file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from pipeline.cli.common_options import CommonOptions
from pipeline.cli.machine_output import print_json
from sharedris.errors import InputError

if TYPE_CHECKING:
    from pipeline.evaluation.public_evaluators.counts import MaskCounts


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Whose masks are counted, and by which evaluators."""

    rows: tyro.conf.Positional[Path | None] = None
    """Per-sample file: runs/samples/RUN/SET/SPLIT.parquet, or what `evaluate --out` wrote; without it, the table of
    who measures what is printed."""
    masks: str | None = None
    """Protocol whose masks of the file are counted (default: original; input, where the file has no others)."""
    name: tuple[str, ...] = ()
    """Print all scores, the rule and the faults of these evaluators."""


def run(options: Options) -> int:
    """Print the table that the arguments ask for; an evaluator that is named must be able to score the file."""
    from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS, public_evaluator
    from pipeline.evaluation.public_evaluators.tables import on_the_same_masks, who_measures_what

    named = [public_evaluator(name) for name in dict.fromkeys(options.name)]
    if options.rows is None:
        if named or options.json or options.masks:
            raise InputError("--name, --masks and --json go with a per-sample file", "Give one: runs/samples/RUN/...")
        print(who_measures_what())
        return 0
    counts = _counts(options.rows, options.masks)
    chosen = named or [each for each in PUBLIC_EVALUATORS.values() if each.can_score(counts)]
    scores = {evaluator.name: evaluator.scores(counts) for evaluator in chosen}
    if options.json:
        print_json(scores)
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
