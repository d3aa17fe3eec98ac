"""One optimizer step: forward and backward over the micro-batches, reduce, clip, update.

Shapes: B samples of one worker's micro-batch; all micro-batches of a step hold equally many, so that the mean of their
gradients is the gradient of the global batch's mean loss.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.config import OptimConfig, TrainConfig
from pipeline.data.dataset.loader import Batch
from pipeline.distributed.process_group import Worker, unwrap
from pipeline.precision import autocast
from sharedris.loss import LossTerms, pop_auxiliary_loss, segmentation_loss

_NAMED_SAMPLES = 20
_SMALLEST_SCALE = 1.0
"""fp16: gradients that overflow without being enlarged do so by themselves, and each skipped step halves the scale."""


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient is NaN or infinite; the message names the step and the samples."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step did on this worker, and where its time went.

    Attributes:
        terms: total loss, BCE and Dice [3], means over this worker's samples; left on the device, since reading them
            every step would stall a GPU (and so it does where the progress file is due).
        gradient_norm: of the reduced gradient before clipping, the same on all workers.
    """

    terms: torch.Tensor
    gradient_norm: float
    skipped: bool
    forward_seconds: float  # on a GPU until it was all asked for; only the step as a whole is waited for
    backward_seconds: float
    optimizer_seconds: float


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    micro_batches: Sequence[Batch],
    *,
    train: TrainConfig,
    optim: OptimConfig,
    worker: Worker,
    step: int,
) -> StepResult:
    """Take one optimizer step over this worker's share of the global batch.

    Raises:
        NonFiniteLossError: on every worker alike, if a loss or gradient is not finite and `nonfinite_loss` is "stop".
    """
    forward_seconds = backward_seconds = 0.0
    terms = torch.zeros(3, device=worker.device)
    statistics = _running_statistics(model)
    for position, batch in enumerate(micro_batches):
        last = position == len(micro_batches) - 1
        with contextlib.nullcontext() if last or worker.world_size == 1 else model.no_sync():  # type: ignore[operator]
            started = time.perf_counter()
            with autocast(train.precision, worker.device):
                logits_BHW = model(batch.image_BCHW, batch.token_ids_BT, batch.padding_BT)
            loss = _loss(model, logits_BHW, batch, train)
            middle = time.perf_counter()
            # A loss may be NaN with a finite gradient (binary cross-entropy of an infinite logit): one that is not
            # finite makes the gradient NaN, so that all workers see it, without another exchange.
            one_or_nan = torch.where(torch.isfinite(loss.total.detach()), 1.0, torch.nan)
            scaler.scale(loss.total * one_or_nan / len(micro_batches)).backward()
            terms += torch.stack([loss.total, loss.bce, loss.dice]).detach() / len(micro_batches)
            forward_seconds += middle - started
            backward_seconds += time.perf_counter() - middle
    started = time.perf_counter()
    scaler.unscale_(optimizer)
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm))
    # The norm is of the reduced gradient, the same on all workers, so all of them decide alike.
    finite = math.isfinite(norm)
    if not finite:
        overflows = scaler.is_enabled() and scaler.get_scale() > _SMALLEST_SCALE
        _refuse(micro_batches, terms, train, worker, step, scales=overflows)
        for buffer, kept in statistics:
            buffer.copy_(kept)  # a skipped step leaves nothing behind, least of all NaN in a running mean
    if finite or scaler.is_enabled():
        scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(
        terms=terms,
        gradient_norm=norm,
        skipped=not finite,
        forward_seconds=forward_seconds,
        backward_seconds=backward_seconds,
        optimizer_seconds=time.perf_counter() - started,
    )


def _loss(model: nn.Module, logits_BHW: torch.Tensor, batch: Batch, train: TrainConfig) -> LossTerms:
    """Return equation 12, plus the auxiliary loss of a compared decoder in the total."""
    loss = segmentation_loss(logits_BHW.float(), batch.mask_BHW, train.loss)
    own = pop_auxiliary_loss(unwrap(model), batch.mask_BHW)
    return loss if own is None else loss._replace(total=loss.total + own)


def _running_statistics(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return each buffer of the model (of its batch norms: some kilobytes) with a copy."""
    return [(buffer, buffer.clone()) for buffer in model.buffers()]


def _refuse(
    micro_batches: Sequence[Batch], terms: torch.Tensor, train: TrainConfig, worker: Worker, step: int, *, scales: bool
) -> None:
    """Raise if the recipe stops on non-finite losses; an overflow under loss scaling (fp16) is part of the method."""
    own = [f"{sample.split}#{sample.index}" for batch in micro_batches for sample in batch.samples]
    guilty = [] if bool(torch.isfinite(terms).all()) else own
    gathered = [name for share in worker.gather(guilty) for name in share]
    if train.nonfinite_loss == "stop" and (gathered or not scales):
        what = "loss" if gathered else "gradient (the loss was finite)"
        names = ", ".join(gathered[:_NAMED_SAMPLES] or own[:_NAMED_SAMPLES])
        raise NonFiniteLossError(f"{what} is not finite at step {step}; samples of the batch: {names}")
