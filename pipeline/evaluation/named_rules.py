"""Rules that only `sharedris evaluate` scores, next to the protocols of records and tables.

The protocols of a record are those of PROTOCOLS at the run's threshold. Neither a rule of this file nor another
threshold is part of training, so neither changes a run, its id or its tables.

Shapes: H, W logit map; h, w the size at which the rule scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline.evaluation.protocols import PAPER, PROTOCOLS, Protocol, Size
from pipeline.evaluation.public_evaluators.evaluator import PublicEvaluator
from pipeline.evaluation.public_evaluators.mask_rules import MASK_RULES
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS
from sharedris.errors import InputError
from sharedris.registry import suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from sharedris.baselines.config import ComparedModelConfig

PAPER_INPUT = Protocol(
    name="paper_input",
    version=1,
    rule="the paper's text: sigmoid, threshold at the logit map's size, nearest resize to the model's input size; "
    "compared with the mask resized nearest",
    scored_at="input",
    binarize=PAPER.binarize,
)

NAMED_RULES: dict[str, Protocol] = {rule.name: rule for rule in (PAPER_INPUT, *MASK_RULES)}
"""Name -> rule, as `sharedris evaluate --protocol` takes them. The thresholds of other papers' rules are fixed."""


def rule_names() -> list[str]:
    """Return what `sharedris evaluate --protocol` takes: named rules, and public evaluators that have a mask rule."""
    return [*NAMED_RULES, *(name for name, each in PUBLIC_EVALUATORS.items() if each.mask_rule is not None)]


def check_rule_names(names: Iterable[str]) -> None:
    """Check names of rules before a model is loaded.

    Raises:
        InputError: for an unknown one, giving the closest, and for an evaluator whose masks only its network makes.
    """
    known = rule_names()
    for name in names:
        if name in PUBLIC_EVALUATORS and name not in known:
            raise InputError(
                f"--protocol {name}: its masks depend on its network, and no rule makes them of our maps",
                f"Name one of {', '.join(known)}",
            )
        if name not in known:
            raise InputError(f"unknown --protocol {name!r}{suggestion(name, known)}")


def at_threshold(protocol: Protocol, threshold: float) -> Protocol:
    """Return a protocol with a fixed threshold as a rule with a separate name, `original@0.5`."""

    def binarize(probability_HW: Tensor, size: Size, threshold_of_run: float) -> Tensor:
        return protocol.binarize(probability_HW, size, threshold)

    return dataclasses.replace(
        protocol,
        name=f"{protocol.name}@{threshold:g}",
        rule=f"{protocol.rule}; threshold {threshold:g}",
        binarize=binarize,
        resize=None,  # its threshold is fixed
    )


def own_evaluator(config: ComparedModelConfig) -> PublicEvaluator | None:
    """Return the evaluator of the other paper whose decoder or system a model has; None for ours."""
    kind = config.decoder.kind if config.system.kind == "shared_ris" else config.system.kind
    return PUBLIC_EVALUATORS.get(kind)


def named_evaluators(config: ComparedModelConfig, names: Iterable[str]) -> list[PublicEvaluator]:
    """Return the public evaluators among the names, then that of the model's own paper, each once."""
    own = own_evaluator(config)
    found = [PUBLIC_EVALUATORS[name] for name in names if name in PUBLIC_EVALUATORS]
    return list({each.name: each for each in (*found, *([own] if own else []))}.values())


def extra_rules(config: ComparedModelConfig, names: Iterable[str], thresholds: Iterable[float]) -> dict[str, Protocol]:
    """Return what is scored in addition to PROTOCOLS, by name, each once.

    Args:
        config: of the model.
        names: of `rule_names`.
        thresholds: at which PROTOCOLS and `paper_input`, where it is named, are scored as well.
    """
    names = list(names)
    named = [NAMED_RULES[name] for name in names if name in NAMED_RULES]
    free = [*PROTOCOLS.values(), *(rule for rule in named if rule is PAPER_INPUT)]
    fixed = [at_threshold(each, value) for value in thresholds for each in free]
    public = [rule for each in named_evaluators(config, names) for rule in each.rules_on_maps]
    return {rule.name: rule for rule in (*named, *fixed, *public)}
