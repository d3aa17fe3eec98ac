"""One optimizer step: forward and backward over the micro-batches, reduce, clip, update.

Shapes: B samples of one worker's micro-batch; all micro-batches of a step hold equally many, so that the mean of their
gradients is the gradient of the global batch's mean loss.

Nothing here waits for a GPU: what a step did stays on the device until `pipeline.training.readings` reads several
steps at once, and a step that is not finite is undone there by the kernels themselves.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.config import OptimConfig
from pipeline.data.dataset.loader import Batch
from pipeline.data.dataset.refer_dataset import SampleInfo
from pipeline.distributed.grouped_batch_norm import move_running_statistics
from pipeline.distributed.process_group import Worker
from pipeline.training.model_with_loss import sample_keys_of
from sharedris.loss import LossTerms


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step did on this worker, and where its time went.

    Attributes:
        step: number of the step.
        values: total loss, BCE and Dice (means over this worker's samples), norm of the reduced gradient before
            clipping (the same on all workers), scale of the loss (fp16; else 0) [5]; float32, on the device.
        samples: of the micro-batches, in order.
    """

    step: int
    values: torch.Tensor
    samples: tuple[SampleInfo, ...]
    forward_seconds: float  # on a GPU until it was all asked for; only the step as a whole is waited for
    backward_seconds: float
    optimizer_seconds: float


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    micro_batches: Sequence[Batch],
    *,
    optim: OptimConfig,
    worker: Worker,
    step: int,
    draws_seed: int | None = None,
) -> StepResult:
    """Take one optimizer step over this worker's share of the global batch.

    A step whose loss or gradient is not finite changes neither weights nor running statistics.

    Args:
        model: a `ModelWithLoss`, in DistributedDataParallel where there are several workers.
        draws_seed: of random numbers by sample; None draws from this worker's generator.
        optimizer: with a fused kernel, which leaves all as it is where it is told of an infinity (`build_optimizer`).
    """
    forward_seconds = backward_seconds = 0.0
    terms = torch.zeros(3, device=worker.device)
    statistics = _running_statistics(model)
    for position, batch in enumerate(micro_batches):
        last = position == len(micro_batches) - 1
        with contextlib.nullcontext() if last or worker.world_size == 1 else model.no_sync():  # type: ignore[operator]
            started = time.perf_counter()
            keys = None if draws_seed is None else (draws_seed, step)
            loss: LossTerms = model(*_inputs_of(batch, keys, worker.device))
            middle = time.perf_counter()
            # A loss may be NaN with a finite gradient (binary cross-entropy of an infinite logit): one that is not
            # finite makes the gradient NaN, so that all workers see it, without another exchange.
            one_or_nan = torch.where(torch.isfinite(loss.total.detach()), 1.0, torch.nan)
            scaler.scale(loss.total * one_or_nan / len(micro_batches)).backward()
            terms += torch.stack([loss.total.detach(), loss.bce, loss.dice]) / len(micro_batches)
            forward_seconds += middle - started
            backward_seconds += time.perf_counter() - middle
    started = time.perf_counter()
    scale = scaler.scale(torch.ones((), device=worker.device)) if scaler.is_enabled() else terms.new_zeros(())
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
    move_running_statistics(model, worker)
    # The norm is of the reduced gradient, the same on all workers, so all of them decide alike.
    finite = torch.isfinite(norm)
    for buffer, kept in statistics:  # a skipped step leaves nothing behind, least of all NaN in a running mean
        buffer.copy_(torch.where(finite, buffer, kept))
    if scaler.is_enabled():
        scaler.step(optimizer)
        scaler.update()
    else:
        _step_where(finite, optimizer)
    optimizer.zero_grad(set_to_none=True)
    return StepResult(
        step=step,
        values=torch.cat([terms, torch.stack([norm, scale])]),
        samples=tuple(sample for batch in micro_batches for sample in batch.samples),
        forward_seconds=forward_seconds,
        backward_seconds=backward_seconds,
        optimizer_seconds=time.perf_counter() - started,
    )


def _inputs_of(batch: Batch, keys: tuple[int, int] | None, device: torch.device) -> list[torch.Tensor]:
    """Return what the model takes; with keys (seed, step) also the keys of each sample's random numbers."""
    inputs = [batch.image_BCHW, batch.token_ids_BT, batch.padding_BT, batch.mask_BHW]
    if keys is not None:
        inputs.append(sample_keys_of(batch.samples, seed=keys[0], step=keys[1], device=device))
    return inputs


def _step_where(finite: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take the optimizer's step if `finite`, without asking the device: the way in which GradScaler tells kernels."""
    optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
    optimizer.step()
    del optimizer.found_inf  # type: ignore[attr-defined]


def _running_statistics(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return each buffer of the model (of its batch norms: some kilobytes) with a copy."""
    return [(buffer, buffer.clone()) for buffer in model.buffers()]
