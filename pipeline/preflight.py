"""What the driver checks of the modules of runs before any of them takes its first step."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.config import RunConfig


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
