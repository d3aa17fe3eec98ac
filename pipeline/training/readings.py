"""What steps did, read from the device a few steps at a time: every reading waits for the GPU.

On a CPU each step is read at once. On a GPU a step that is not finite is noticed some steps later; it has changed no
weight (`train_step`), and no checkpoint, history or validation holds a step that has not been read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.config import TrainConfig
from pipeline.distributed.process_group import Worker
from pipeline.training.step import StepResult

STEPS_PER_READING = 10
"""On a GPU. The device has that many steps of work queued at most, and waits for the host once in them."""

_NAMED_SAMPLES = 20
_SMALLEST_SCALE = 1.0
"""fp16: gradients that overflow without being enlarged do so by themselves, and each skipped step halves the scale."""


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient is NaN or infinite; the message names the step and the samples."""


@dataclass(frozen=True, kw_only=True)
class StepReading:
    """What one step did, on the host.

    Attributes:
        terms: total loss, BCE and Dice [3], float32, means over this worker's samples.
        gradient_norm: of the reduced gradient before clipping, the same on all workers.
        skipped: the gradient was not finite.
    """

    terms: torch.Tensor
    gradient_norm: float
    skipped: bool


class UnreadSteps:
    """The results of the steps that have not been read yet."""

    def __init__(self, train: TrainConfig, worker: Worker) -> None:
        self._train, self._worker = train, worker
        self._every = 1 if worker.device.type == "cpu" else STEPS_PER_READING
        self._results: list[StepResult] = []

    def add(self, result: StepResult, *, read_now: bool = False) -> list[StepReading]:
        """Keep the result of a step; return the readings of all that are kept if there are enough, or if asked to.

        Every worker must call this alike: where a step was not finite, they exchange the names of its samples.

        Raises:
            NonFiniteLossError: on every worker alike, if a loss or gradient is not finite and `nonfinite_loss` is
                "stop".
        """
        self._results.append(result)
        if not read_now and len(self._results) < self._every:
            return []
        results, self._results = self._results, []
        values_N5 = torch.stack([result.values for result in results]).cpu()  # the one wait for the device
        return [self._read(result, values_5) for result, values_5 in zip(results, values_N5, strict=True)]

    def _read(self, result: StepResult, values_5: torch.Tensor) -> StepReading:
        terms, norm, scale = values_5[:3], float(values_5[3]), float(values_5[4])
        finite = bool(values_5[3].isfinite())
        if not finite:
            self._refuse(result, terms, scales=scale > _SMALLEST_SCALE)
        return StepReading(terms=terms, gradient_norm=norm, skipped=not finite)

    def _refuse(self, result: StepResult, terms: torch.Tensor, *, scales: bool) -> None:
        """Raise if the recipe stops on non-finite losses; overflow under loss scaling (fp16) is part of the method."""
        own = [f"{sample.split}#{sample.index}" for sample in result.samples]
        guilty = [] if bool(torch.isfinite(terms).all()) else own
        gathered = [name for part in self._worker.gather(guilty) for name in part]
        if self._train.nonfinite_loss == "stop" and (gathered or not scales):
            what = "loss" if gathered else "gradient (the loss was finite)"
            names = ", ".join(gathered[:_NAMED_SAMPLES] or own[:_NAMED_SAMPLES])
            raise NonFiniteLossError(f"{what} is not finite at step {result.step}; samples of the batch: {names}")
