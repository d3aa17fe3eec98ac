"""Peak memory of a worker before hours are spent, and the batch of a forward that fits a GPU.

The bytes are those of `step_trace`. A GPU holds more than torch allocates: its context, workspaces of libraries, and
gaps between blocks. `RESERVE_GIB` and `USABLE` stand for these; they are assumptions until a GPU has measured them.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.cost.step_trace import DeviceKind, StepTrace, trace_step
from pipeline.job import per_rank_batch_of
from sharedris.config import Precision
from sharedris.errors import InputError

GIB = 2**30
GPU_SIZES_GB = (16, 24, 40, 80)
RESERVE_GIB = 1.0
"""CUDA context and libraries' workspaces."""
USABLE = 0.95
"""Share of the rest that torch's allocator can fill, in view of gaps."""

_TRACED = (4, 16)
"""Samples of the two traces from which the peak of other batches is extrapolated."""
_FLOAT_BYTES, _CHANNELS, _LARGEST_SEARCHED = 4, 3, 4096


@dataclass(frozen=True, kw_only=True)
class WorkerMemory:
    """Bytes that one worker holds at the peak of a training step."""

    trace: StepTrace
    waiting_inputs: int

    @property
    def peak(self) -> int:
        """Bytes at the highest moment."""
        return self.trace.peak + self.waiting_inputs


def device_kind(execution: ExecutionConfig) -> DeviceKind:
    """Return the device whose memory is planned: a GPU unless the CPU is asked for."""
    return "cpu" if execution.device == "cpu" else "cuda"


def worker_memory(
    config: RunConfig,
    execution: ExecutionConfig,
    *,
    micro_batch_size: int,
    precision: Precision | None = None,
    checkpointing: bool | None = None,
) -> WorkerMemory:
    """Return the peak memory of one worker of a run.

    Args:
        config: of the run.
        execution: its workers and device.
        micro_batch_size: samples of a forward.
        precision: None takes that of the run.
        checkpointing: None takes that of the execution.

    Raises:
        InputError: for a model that cannot be traced without values.
    """
    samples = config.train.global_batch_size // execution.workers
    accumulation = max(1, -(-samples // micro_batch_size))
    wanted = precision or config.train.precision
    try:
        trace = trace_step(
            config.model,
            micro_batch_size=micro_batch_size,
            precision="bf16" if wanted == "fp16" else wanted,  # the same bytes
            checkpointing=execution.activation_checkpointing if checkpointing is None else checkpointing,
            device=device_kind(execution),
            keeps_gradients=accumulation > 1 or execution.workers > 1,
            loss=config.train.loss,
        )
    except Exception as error:  # a plugin's code runs in the trace
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"the memory of {config.model.variant} cannot be traced: {reason}", "Give --micro-batch-size a number"
        ) from None
    side = config.model.encoder.image_size
    one_input = micro_batch_size * side * side * (_CHANNELS * _FLOAT_BYTES + 1)
    return WorkerMemory(trace=trace, waiting_inputs=(accumulation - 1) * one_input)


def largest_micro_batch(
    config: RunConfig,
    execution: ExecutionConfig,
    free_bytes: float,
    *,
    precision: Precision | None = None,
    checkpointing: bool | None = None,
) -> int:
    """Return the largest divisor of a worker's samples whose step fits; 0 where not even one sample does."""

    def peak(size: int) -> int:
        return worker_memory(
            config, execution, micro_batch_size=size, precision=precision, checkpointing=checkpointing
        ).peak

    samples = config.train.global_batch_size // execution.workers
    few, many = _TRACED
    slope = (peak(many) - peak(few)) / (many - few)
    fixed = peak(few) - slope * few
    group = config.train.batch_norm_samples or 1
    sizes = [size for size in range(min(samples, _LARGEST_SEARCHED), 0, -1) if samples % size == size % group == 0]
    return next((size for size in sizes if fixed + slope * size <= free_bytes and peak(size) <= free_bytes), 0)


def usable_bytes(gpu_gb: float) -> float:
    """Return the bytes that tensors may take on a GPU sold with so many GB."""
    return (gpu_gb * 1e9 - RESERVE_GIB * GIB) * USABLE


def automatic_micro_batch(config: RunConfig, execution: ExecutionConfig) -> int:
    """Return the samples of a forward that fit this machine's GPU, or the CPU's free memory.

    Raises:
        InputError: where no GPU is here and the workers are to run on GPUs, and where no batch fits.
    """
    if execution.device != "cpu" and torch.cuda.is_available():
        size = torch.cuda.get_device_properties(0).total_memory
        free, named = usable_bytes(size / 1e9), f"a GPU with {size / GIB:.0f} GiB"
    elif execution.device == "cuda":
        raise InputError(
            "--micro-batch-size auto needs the memory of a GPU, and this machine has none",
            "Give a number: train --plan --memory prints which fits",
        )
    else:
        free = psutil.virtual_memory().available * USABLE / execution.workers
        named = f"{free / GIB:.1f} GiB of this machine for each worker"
    fits = largest_micro_batch(config, execution, free)
    if fits == 0:
        raise InputError(f"not even one sample a forward fits {named}", "Add --activation-checkpointing or --workers")
    return fits


def describe_peak(config: RunConfig, execution: ExecutionConfig) -> str:
    """Return the peak memory of a worker in words."""
    micro = per_rank_batch_of(config, execution, execution.workers).micro_batch_size
    try:
        memory = worker_memory(config, execution, micro_batch_size=micro)
    except InputError as error:
        return error.message
    trace, kind = memory.trace, "GPU" if device_kind(execution) == "cuda" else "CPU"
    parts = {
        "weights": trace.weights,
        "gradients": trace.gradients,
        "AdamW": trace.optimizer,
        "activations": trace.activations + memory.waiting_inputs,
    }
    words = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    recomputed = "with" if execution.activation_checkpointing else "without"
    return (
        f"{memory.peak / GIB:.2f} GiB a worker on a {kind} ({words}; {micro} samples a forward, "
        f"{config.train.precision}, {recomputed} checkpointing)"
    )


def memory_table(config: RunConfig, execution: ExecutionConfig) -> str:
    """Return a Markdown table: the peak of every precision, and the batch of a forward that fits each GPU.

    Raises:
        InputError: for a model that cannot be traced without values.
    """
    micro = per_rank_batch_of(config, execution, execution.workers).micro_batch_size
    lines = [
        f"| precision | checkpointing | weights | gradients | AdamW | activations | sum, GiB at {micro} a forward "
        f"| {' | '.join(f'fits {size} GB' for size in GPU_SIZES_GB)} |",
        f"|---|---|---|---|---|---|---|{'---|' * len(GPU_SIZES_GB)}",
    ]
    precisions: tuple[tuple[str, Precision], ...] = (("bf16, fp16", "bf16"), ("fp32", "fp32"))
    for words, precision in precisions:
        for checkpointing in (False, True):
            memory = worker_memory(
                config, execution, micro_batch_size=micro, precision=precision, checkpointing=checkpointing
            )
            trace = memory.trace
            parts = (trace.weights, trace.gradients, trace.optimizer, trace.activations + memory.waiting_inputs)
            fits = [
                largest_micro_batch(
                    config, execution, usable_bytes(size), precision=precision, checkpointing=checkpointing
                )
                for size in GPU_SIZES_GB
            ]
            cells = [f"{size / GIB:.2f}" for size in parts] + [f"**{memory.peak / GIB:.2f}**"]
            cells += [str(size) if size else "none" for size in fits]
            lines.append(f"| {words} | {'yes' if checkpointing else 'no'} | {' | '.join(cells)} |")
    return "\n".join(lines)
