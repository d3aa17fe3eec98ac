"""What public evaluators print for external masks, from their per-sample rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.public_evaluators.counts import counts_of
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS, public_evaluator
from sharedris.errors import InputError

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class PublicScores:
    """The result of one evaluator.

    Attributes:
        scores: by the names that its code prints; empty where it cannot score this split.
        remark: why it cannot, or how the masks differ from those that its code compares.
    """

    scores: dict[str, float]
    remark: str = ""


def public_scores(samples: pd.DataFrame, protocol: str, names: Sequence[str]) -> dict[str, PublicScores]:
    """Return the scores of public evaluators by name.

    Args:
        samples: per-sample rows of external masks.
        protocol: the one whose columns they have.
        names: of PUBLIC_EVALUATORS, or `all`, which leaves out nobody: one that cannot score the split says why.

    Raises:
        InputError: for an unknown name, and for a named evaluator that cannot score the split.
    """
    counts = counts_of(samples.dropna(axis="columns", how="all"), PROTOCOLS[protocol])
    wanted = list(PUBLIC_EVALUATORS) if ALL in names else list(dict.fromkeys(names))
    found: dict[str, PublicScores] = {}
    for name in wanted:
        evaluator = public_evaluator(name)
        other = evaluator.scored_at != PROTOCOLS[protocol].scored_at
        remark = f"its code compares at the {evaluator.scored_at} size, these masks have the {protocol} size"
        try:
            found[name] = PublicScores(scores=evaluator.scores(counts), remark=remark if other else "")
        except InputError as error:
            if name in names:
                raise
            found[name] = PublicScores(scores={}, remark=error.message)
    return found
