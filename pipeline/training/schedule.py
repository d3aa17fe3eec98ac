"""How many steps a run has, from the recipe and the data."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """How many samples, steps and epochs a run has; from the job and the data."""

    samples_per_epoch: int
    steps_per_epoch: int
    epochs: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.epochs


def plan_steps(train: TrainConfig, training_samples: int) -> StepPlan:
    """Return the plan; an epoch drops the samples that do not fill a global batch."""
    if train.max_samples_per_epoch is not None:
        training_samples = min(training_samples, train.max_samples_per_epoch)
    steps = training_samples // train.global_batch_size
    return StepPlan(samples_per_epoch=steps * train.global_batch_size, steps_per_epoch=steps, epochs=train.epochs)
