"""Training steps on zeros: their seconds and peak memory, measured in the run's own precision.

The pixels do not matter: neither time nor memory depends on them.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import torch
from torch import nn

from pipeline.config import OptimConfig
from pipeline.cost.peak_memory import peak_memory_mib, resident_mib
from pipeline.precision import autocast
from pipeline.training.optimizer import build_optimizer
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import LossConfig, Precision
from sharedris.encoder import ImageTextEncoder
from sharedris.errors import InputError
from sharedris.kernels import use_kernels
from sharedris.loss import pop_auxiliary_loss, segmentation_loss
from sharedris.plugins import Plugin, load_shipped, loaded_plugins
from sharedris.scales import tiny

_STEPS = 3
_SMALLEST = tiny()


@dataclass(frozen=True, kw_only=True)
class StepShape:
    """What decides the time and the memory of a training step on one worker."""

    model: ComparedModelConfig
    micro_batch_size: int
    precision: Precision
    checkpointing: bool = False


@dataclass(frozen=True, kw_only=True)
class StepTiming:
    """The median of a few steps after the first, and the peak memory of model, optimizer and steps."""

    seconds: float
    peak_memory_mib: float


def make_step(shape: StepShape, device: torch.device, *, optimizes: bool = True) -> Callable[[], None]:
    """Return a function that takes one step on a device and waits for its end.

    Args:
        shape: of the step.
        device: of model and inputs.
        optimizes: whether the step ends with clipping and AdamW; without it gradients are set to None.
    """
    model = build_model(shape.model).to(device).train()
    use_kernels(model)
    for module in model.modules():
        if isinstance(module, ImageTextEncoder):
            module.activation_checkpointing = shape.checkpointing
    optimizer = build_optimizer(model, OptimConfig())
    scaler = torch.amp.GradScaler(device.type, enabled=shape.precision == "fp16")
    encoder, batch = shape.model.encoder, shape.micro_batch_size
    side = encoder.image_size
    image_BCHW = torch.zeros(batch, 3, side, side, device=device)
    ids_BT = torch.full((batch, encoder.text_tokens), 5, device=device)
    mask_BHW = torch.zeros(batch, side, side, dtype=torch.uint8, device=device)

    def step() -> None:
        with autocast(shape.precision, device):
            logits_BHW = model(image_BCHW, ids_BT, None)
        loss = segmentation_loss(logits_BHW.float(), mask_BHW, LossConfig()).total
        own = pop_auxiliary_loss(model, mask_BHW)
        scaler.scale(loss if own is None else loss + own).backward()  # type: ignore[no-untyped-call]
        if optimizes:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def time_step(shape: StepShape, *, device: str = "cpu", threads: int | None = None) -> StepTiming:
    """Measure steps in a fresh process, so that its memory is that of this model only.

    Raises:
        InputError: when the process was ended, which is nearly always for lack of memory.
    """
    fresh = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(max_workers=1, mp_context=fresh) as process:
            wanted = threads or torch.get_num_threads()
            return process.submit(_measure, shape, device, loaded_plugins(), wanted).result()
    except BrokenProcessPool:
        raise InputError(
            f"the training step of {shape.micro_batch_size} samples was ended", "Choose a smaller micro-batch"
        ) from None


def _measure(shape: StepShape, device: str, plugins: tuple[Plugin, ...], threads: int) -> StepTiming:
    load_shipped(plugins)
    torch.set_num_threads(threads)
    make_step(replace(shape, model=_SMALLEST, micro_batch_size=2), torch.device(device))()  # loads libraries
    gc.collect()
    before = 0.0 if device == "cuda" else resident_mib()
    seconds = []
    with peak_memory_mib(device) as memory:
        step = make_step(shape, torch.device(device))
        step()
        for _ in range(_STEPS):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
    return StepTiming(seconds=sorted(seconds)[len(seconds) // 2], peak_memory_mib=memory.mib - before)
