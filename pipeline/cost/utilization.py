"""How well a run used its devices: model FLOPs per second over the peak, and the hours of devices that it took."""

from __future__ import annotations

import functools

import torch

from pipeline.cost.devices import peak_flops
from pipeline.cost.flops import measure_cost
from sharedris.baselines.config import ComparedModelConfig
from sharedris.config import Precision

FLOPS_PER_MAC = 2
TRAINING_FACTOR = 3
"""Forward once, backward twice: gradients of inputs and of weights cost a forward each."""


@functools.lru_cache(maxsize=8)
def model_gmacs(config: ComparedModelConfig) -> float | None:
    """Return the GMACs of a forward pass; None where a user's module cannot be counted, which the record logs.

    The random generators are as they were: this runs in the middle of a training.
    """
    try:
        return sum(cost.gmacs for cost in measure_cost(config))
    except Exception:  # code of a plugin, hours into a run
        return None


def model_flops_utilization(
    *,
    gmacs: float | None,
    samples_per_second: float | None,
    workers: int,
    device: torch.device,
    precision: Precision,
    tf32: bool = False,
) -> float | None:
    """Return the MFU of a training, 0 .. 1: the model's own FLOPs, attention included, recomputation left out.

    Args:
        gmacs: of one forward pass of one sample; None where they cannot be counted.
        samples_per_second: of all workers.
        workers: devices that shared the samples.
        device: of a worker.
        precision: of the run.
        tf32: whether float32 products take TF32 where the device has it.

    Returns:
        None where one of the values, or the device's peak, is not known.
    """
    if not gmacs or not samples_per_second:
        return None
    peak = peak_flops(device, precision, tf32=tf32)
    flops = gmacs * 1e9 * FLOPS_PER_MAC * TRAINING_FACTOR
    return None if peak is None else flops * samples_per_second / workers / peak
