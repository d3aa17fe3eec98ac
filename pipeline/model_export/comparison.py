"""An exported file compared with its model on the same inputs: logits, masks, time.

Shapes: B batch, H = W side of the logit map.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.evaluation.protocols import ORIGINAL
from pipeline.model_export.samples import CheckBatch
from sharedris.config import ModelConfig
from sharedris.export.graph import example_inputs

LARGEST_LOGIT_DIFFERENCE = 1e-3
"""An export in float32 differs by rounding, 2e-5 at most on a trained tiny model; more is a defect."""

TIMED_BATCHES = (1, 8)
_SECONDS_PER_TIMING = 1.0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two models answer to the same inputs.

    Attributes:
        samples: compared.
        logit_difference: the largest, of all pixels of all logit maps.
        equal_masks: samples whose masks have the same pixels at the size of the image.
        pixels: of all masks.
        different_pixels: in one mask and not in the other.
    """

    samples: int
    logit_difference: float
    equal_masks: int
    pixels: int
    different_pixels: int

    @property
    def passes(self) -> bool:
        """Whether the logits are equal up to rounding."""
        return self.logit_difference <= LARGEST_LOGIT_DIFFERENCE

    def __str__(self) -> str:
        masks = f"{self.equal_masks} of {self.samples} masks equal"
        if self.different_pixels:
            masks += f" ({self.different_pixels:,} of {self.pixels:,} pixels differ)"
        return f"largest difference of a logit {self.logit_difference:.1e}, {masks}"


@torch.inference_mode()
def compare(model: nn.Module, exported: nn.Module, batches: Iterable[CheckBatch], threshold: float) -> Comparison:
    """Return how an exported model differs from the model, with masks made under the protocol `original`."""
    samples = equal = pixels = different = 0
    largest = 0.0
    for batch in batches:
        expected_BHW, found_BHW = model(*batch.inputs)[0].float(), exported(*batch.inputs)[0].float()
        gap = (expected_BHW - found_BHW).abs().max()
        largest = max(largest, float("inf") if bool(gap.isnan()) else float(gap))
        for expected_HW, found_HW, size in zip(expected_BHW.sigmoid(), found_BHW.sigmoid(), batch.sizes, strict=True):
            mask = ORIGINAL.binarize(expected_HW, size, threshold)
            changed = int((mask ^ ORIGINAL.binarize(found_HW, size, threshold)).sum())
            samples, pixels, different = samples + 1, pixels + mask.numel(), different + changed
            equal += changed == 0
    return Comparison(
        samples=samples, logit_difference=largest, equal_masks=equal, pixels=pixels, different_pixels=different
    )


@torch.inference_mode()
def milliseconds_per_sample(model: nn.Module, config: ModelConfig, batch: int) -> float:
    """Return the best time of a forward pass, per sample, over about a second of them."""
    inputs = example_inputs(config, batch, config.encoder.text_tokens)
    model(*inputs)
    best, until = float("inf"), time.perf_counter() + _SECONDS_PER_TIMING
    while time.perf_counter() < until or best == float("inf"):
        started = time.perf_counter()
        model(*inputs)
        best = min(best, time.perf_counter() - started)
    return 1000 * best / batch


def size_mib(path: Path) -> float:
    """Return the size of a file, with the weights that ONNX keeps next to a large one."""
    beside = path.with_name(f"{path.name}.data")
    return (path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)) / 2**20
