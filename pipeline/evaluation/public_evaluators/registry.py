"""Every public evaluator by name."""

from __future__ import annotations

from pipeline.evaluation.public_evaluators.argmax_family import DMMI, LAVT, REF_ZOM
from pipeline.evaluation.public_evaluators.big_vision import BIG_VISION
from pipeline.evaluation.public_evaluators.epsilon_family import CGFORMER, CRIS
from pipeline.evaluation.public_evaluators.evaluator import PublicEvaluator
from pipeline.evaluation.public_evaluators.float32_family import MASKRIS, MMDET
from pipeline.evaluation.public_evaluators.meter_family import EVF_SAM, GSVA, GSVA_GRES
from pipeline.evaluation.public_evaluators.r_refcoco import R_REFCOCO
from pipeline.evaluation.public_evaluators.rela import RELA
from pipeline.evaluation.public_evaluators.sam3 import SAM3_CGF1
from sharedris.errors import InputError
from sharedris.registry import suggestion

PUBLIC_EVALUATORS: dict[str, PublicEvaluator] = {
    evaluator.name: evaluator
    for evaluator in (
        LAVT,
        CRIS,
        CGFORMER,
        DMMI,
        MASKRIS,
        EVF_SAM,
        GSVA,
        MMDET,
        BIG_VISION,
        RELA,
        GSVA_GRES,
        REF_ZOM,
        R_REFCOCO,
        SAM3_CGF1,
    )
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
