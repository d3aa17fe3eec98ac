"""A step on a GPU is the CPU's step up to the rounding of its precision, for the model and every ablation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sharedris.baselines.config import ComparedModelConfig
from sharedris.config import Precision
from tests.gpu.steps import difference, gradient_difference, outcome
from tests.pipeline.training.test_one_graph import ABLATIONS

CPU = torch.device("cpu")
LARGEST: dict[Precision, tuple[float, float]] = {"fp32": (1e-4, 1e-3), "fp16": (0.01, 0.05), "bf16": (0.05, 0.25)}
"""Relative differences allowed: of logits, of all gradients as one vector.

The micro model's gradients in bf16 differ by up to 0.16 on a CPU; a wrong gradient differs by about 1.
"""


@pytest.mark.parametrize("precision", LARGEST)
def test_a_step_is_the_cpus(device: torch.device, two_layers: ComparedModelConfig, precision: Precision) -> None:
    reference, ours = outcome(two_layers, "fp32", CPU), outcome(two_layers, precision, device)
    of_logits, of_gradients = LARGEST[precision]
    logits, gradients = difference(ours.logits_BHW, reference.logits_BHW), gradient_difference(ours, reference)
    print(f"{precision}: logits differ by {logits:.1e}, gradients by {gradients:.1e} (relative, Euclidean norm)")
    assert logits <= of_logits
    assert gradients <= of_gradients
    assert ours.loss == pytest.approx(reference.loss, rel=of_logits)


@pytest.mark.parametrize(("fpn", "decoder"), ABLATIONS, ids=[f"{fpn}, {decoder}" for fpn, decoder in ABLATIONS])
def test_every_ablation_runs_forward_and_backward(
    device: torch.device, two_layers: ComparedModelConfig, fpn: str, decoder: str
) -> None:
    config = replace(
        two_layers,
        fpn=replace(two_layers.fpn, kind=fpn, stages=() if fpn == "none" else two_layers.fpn.stages),
        decoder=replace(two_layers.decoder, kind=decoder, layers=0 if decoder == "none" else two_layers.decoder.layers),
    )
    reference, ours = outcome(config, "fp32", CPU), outcome(config, "bf16", device)
    of_logits, of_gradients = LARGEST["bf16"]
    assert difference(ours.logits_BHW, reference.logits_BHW) <= of_logits
    assert gradient_difference(ours, reference) <= of_gradients
    without = {name for name, gradient in ours.gradients.items() if not gradient.isfinite().all()}
    assert not without
