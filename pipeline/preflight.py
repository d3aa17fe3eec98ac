"""What the driver checks of runs before any of them takes its first step: modules, scoring, and where they write."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.files import require_writable
from sharedris.baselines.config import ComparedModelConfig
from sharedris.errors import InputError


def check_modules(configs: Iterable[RunConfig]) -> None:
    """Check the modules and the loss terms of runs; those that several runs have in common are checked once.

    Raises:
        InputError: for a module that breaks its contract; names both.
    """
    from sharedris.module_check import check_loss, check_model  # here: a command that starts no run needs no torch

    configs = list(configs)
    for model in dict.fromkeys(config.model for config in configs):
        check_model(model)
    for loss in dict.fromkeys(config.train.loss for config in configs):
        check_loss(loss)


_BYTES_PER_WEIGHT = 4
_COPIES_ON_DISK = 10
"""Weights in float32 while a run trains: three checkpoints of weights and two moments each, and the export."""


def check_runs(configs: Iterable[RunConfig], runs_root: Path) -> None:
    """Check everything that runs need and write, before the first of them starts: the one place for all commands.

    Raises:
        InputError: for a module, loss term, metric or protocol that breaks its contract, a folder that cannot be
            written, or a disk with too little room for the runs, one after the other.
    """
    from pipeline.evaluation.check import check_scoring  # here: it imports torch

    configs = list(configs)
    require_writable(runs_root, "--runs (make: RUNS=)")
    check_scoring()
    check_modules(configs)
    check_space(configs, runs_root)


def check_space(configs: Iterable[RunConfig], runs_root: Path, *, at_once: int = 1) -> None:
    """Check that the disk has room for the checkpoints of the runs that train at once, and for the export of each.

    Args:
        configs: of all runs that are to be trained.
        runs_root: where they write.
        at_once: how many of them train at the same time; the largest are counted.

    Raises:
        InputError: where it has not; names both sizes.
    """
    models = [config.model for config in configs]
    weights = {model: _count_weights(model) for model in dict.fromkeys(models)}
    sizes = sorted((weights[model] for model in models), reverse=True)
    existing = next(place for place in (runs_root, *runs_root.absolute().parents) if place.exists())
    needed = _BYTES_PER_WEIGHT * (_COPIES_ON_DISK * sum(sizes[:at_once]) + sum(sizes[at_once:]))
    free = shutil.disk_usage(existing).free
    if needed > free:
        runs = "a run writes" if len(sizes) == 1 else f"{len(sizes)} runs, {min(at_once, len(sizes))} at once, write"
        raise InputError(
            f"--runs {runs_root} has {free / 2**20:,.0f} MiB free, {runs} up to {needed / 2**20:,.0f} MiB",
            "Free some space, or name another folder",
        )


def _count_weights(model: ComparedModelConfig) -> int:
    """Return the number of weights; 0 for a module of a plugin that cannot be built without memory for them."""
    import torch

    from sharedris.build import build_model

    try:
        with torch.device("meta"):  # shapes without memory
            return sum(weight.numel() for weight in build_model(model).parameters())
    except Exception:  # `check_modules` has built it on the CPU
        return 0
