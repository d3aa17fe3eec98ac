"""Every public evaluator by name."""

from __future__ import annotations

from pipeline.evaluation.public_evaluators.argmax_family import DMMI, LAVT, REF_ZOM
from pipeline.evaluation.public_evaluators.epsilon_family import CGFORMER, CRIS
from pipeline.evaluation.public_evaluators.evaluator import PublicEvaluator
from sharedris.errors import InputError
from sharedris.registry import suggestion

PUBLIC_EVALUATORS: dict[str, PublicEvaluator] = {
    evaluator.name: evaluator for evaluator in (LAVT, DMMI, REF_ZOM, CRIS, CGFORMER)
}
"""Name -> evaluator, as `--protocol` takes them. Read it when it is needed and keep no copy: plugins add to it."""


def public_evaluator(name: str) -> PublicEvaluator:
    """Return an evaluator by its name.

    Raises:
        InputError: for a name that is not known; gives the closest one.
    """
    if name not in PUBLIC_EVALUATORS:
        raise InputError(f"unknown public evaluator {name!r}{suggestion(name, PUBLIC_EVALUATORS)}")
    return PUBLIC_EVALUATORS[name]
