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


def _bicubic_then_half(probability_HW: Tensor, size: Size, threshold: float) -> Tensor:
    import torch.nn.functional as F

    resized = F.interpolate(probability_HW[None, None], size=size, mode="bicubic", align_corners=True)
    return resized[0, 0] > 0.5


def _logits_then_argmax(probability_HW: Tensor, size: Size, threshold: float) -> Tensor:
    """Resize the logit, the difference of two classes: it is above 0 where the argmax is the object."""
    import torch.nn.functional as F

    logits_HW = probability_HW.logit(eps=_SATURATION)
    return F.interpolate(logits_HW[None, None], size=size, mode="bilinear", align_corners=True)[0, 0] > 0


_SATURATION = 1e-6
"""Probabilities nearer to 0 or 1 are moved here, since float32 rounds them to infinite logits."""

CGFORMER_MASKS = Protocol(
    name="cgformer_masks",
    version=1,
    rule="masks as CGFormer's test makes them: sigmoid, bicubic resize with aligned corners to the original image "
    "size, threshold 0.5; counted as every protocol here",
    scored_at="original",
    binarize=_bicubic_then_half,
)
DMMI_MASKS = Protocol(
    name="dmmi_masks",
    version=1,
    rule="masks as DMMI's test makes them: bilinear resize of logits with aligned corners to the model's input size, "
    "argmax of two classes; counted as every protocol here, while DMMI counts both masks empty as 0 and P@X by >=",
    scored_at="input",
    binarize=_logits_then_argmax,
)

NAMED_RULES: dict[str, Protocol] = {rule.name: rule for rule in (PAPER_INPUT, CGFORMER_MASKS, DMMI_MASKS)}
"""Name -> rule, as `sharedris evaluate --protocol` takes them. The thresholds of other papers' rules are fixed."""

OWN_RULES = {"cgformer": CGFORMER_MASKS, "dmmi": DMMI_MASKS}
"""Kind of another paper's decoder or system -> the rule of that paper, the second score of its rows."""


def at_threshold(protocol: Protocol, threshold: float) -> Protocol:
    """Return a protocol with a fixed threshold as a rule with a separate name, `original@0.5`."""

    def binarize(probability_HW: Tensor, size: Size, threshold_of_run: float) -> Tensor:
        return protocol.binarize(probability_HW, size, threshold)

    return dataclasses.replace(
        protocol,
        name=f"{protocol.name}@{threshold:g}",
        rule=f"{protocol.rule}; threshold {threshold:g}",
        binarize=binarize,
    )


def own_rules(config: ComparedModelConfig) -> list[Protocol]:
    """Return the rules of the other paper whose decoder or system a model has; none for ours."""
    kind = config.decoder.kind if config.system.kind == "shared_ris" else config.system.kind
    return [OWN_RULES[kind]] if kind in OWN_RULES else []


def extra_rules(config: ComparedModelConfig, names: Iterable[str], thresholds: Iterable[float]) -> dict[str, Protocol]:
    """Return what is scored in addition to PROTOCOLS, by name, each once.

    Args:
        config: of the model.
        names: of NAMED_RULES.
        thresholds: at which PROTOCOLS and `paper_input`, where it is named, are scored as well.
    """
    named = [NAMED_RULES[name] for name in names]
    free = [*PROTOCOLS.values(), *(rule for rule in named if rule is PAPER_INPUT)]
    fixed = [at_threshold(each, value) for value in thresholds for each in free]
    return {rule.name: rule for rule in (*named, *fixed, *own_rules(config))}
