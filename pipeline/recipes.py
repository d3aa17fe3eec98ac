"""The two recipes: the paper's, and the one that a laptop finishes. Everything else is a change of one of them."""

from __future__ import annotations

from pipeline.config import DataConfig, OptimConfig, RunConfig, TrainConfig
from sharedris.errors import InputError
from sharedris.scales import SCALES

DEFAULT_SET = "toyplus_unc"
"""The paper's ablations run on RefCOCO+ val; this is its synthetic counterpart."""

PAPERS_SAMPLES = 14
"""Samples of a forward at the paper's scales: 112 over 8 GPUs. Fewer GPUs accumulate gradients."""


def default_micro_batch(scale: str) -> int | None:
    """Return the largest default batch of one forward at a scale; None takes a worker's whole part of a step.

    112 samples of the base model in one forward take 68 GiB.
    """
    return None if scale == "tiny" else PAPERS_SAMPLES


def default_run(*, scale: str = "tiny", train_sets: tuple[str, ...] = (DEFAULT_SET,), seed: int = 0) -> RunConfig:
    """Return the recipe of a scale on the given sets, evaluated on the val split of each.

    Raises:
        InputError: for a scale that does not exist.
    """
    if scale not in SCALES:
        raise InputError(f"no model scale {scale!r}", f"Choose one of {', '.join(SCALES)}")
    model = SCALES[scale]()
    data = DataConfig(train_sets=train_sets, evaluate_splits=tuple(f"{name}/val" for name in train_sets))
    if scale == "tiny":
        return RunConfig(
            model=model,
            data=data,
            optim=OptimConfig(learning_rate=1e-3, warmup_steps=50),
            train=TrainConfig(epochs=4, global_batch_size=16, precision="fp32"),
            seed=seed,
        )
    return RunConfig(model=model, data=data, seed=seed)
