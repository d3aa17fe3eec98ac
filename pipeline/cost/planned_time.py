"""How long a training would take on the device that it would use, by the roofline, before anything is started.

A GPU is the one of `--accelerator-type`, or this machine's. A CPU's rates are measured here for some seconds.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from dataclasses import dataclass

import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.cost.cpu_rates import CpuRates, measure_cpu_rates
from pipeline.cost.devices import Device, find_device, named_device
from pipeline.cost.memory_plan import device_kind
from pipeline.cost.roofline import PRODUCT_SHARE, Rates, gpu_rates, step_seconds
from pipeline.cost.step_trace import DeviceKind, StepTrace, trace_step
from pipeline.cost.utilization import FLOPS_PER_MAC, TRAINING_FACTOR, model_gmacs
from pipeline.job import per_rank_batch_of
from sharedris.config import Precision
from sharedris.errors import InputError

logger = logging.getLogger(__name__)
_TRACED_GFLOPS = 1000.0
"""Of the step whose kernels are run on a CPU: one sample of the base model, every one of the tiny model."""
_QUIET_SECONDS = 5.0
"""Without a line of progress."""


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """An optimizer step of all workers at once.

    Attributes:
        seconds: without exchange between workers and without data loading.
        peak_flops: of products of one worker's device, per second.
        rests_on: the device, and how far its rates are confirmed.
    """

    seconds: float
    peak_flops: float
    rests_on: str


def plan_step(config: RunConfig, execution: ExecutionConfig) -> PlannedStep:
    """Return the time of a step.

    Raises:
        InputError: where the device is not known, and for a model that cannot be traced.
    """
    device = planned_device(execution)
    late = threading.Timer(_QUIET_SECONDS, logger.info, ["still working out the time of a step: some seconds more"])
    late.start()
    try:
        return _plan_step(config, execution, device)
    except Exception as error:  # a plugin's code runs in the trace
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"the step of {config.model.variant} cannot be traced: {reason}", "Give --gflops") from None
    finally:
        late.cancel()


def _plan_step(config: RunConfig, execution: ExecutionConfig, device: Device | None) -> PlannedStep:
    share = per_rank_batch_of(config, execution, execution.workers)
    samples = share.micro_batch_size if device else _samples_on_cpu(config, share.micro_batch_size)
    precision, tf32 = config.train.precision, config.train.float32_products == "tf32"
    kind: DeviceKind = "cpu" if device is None else "cuda"
    trace = trace_step(
        config.model,
        micro_batch_size=samples,
        precision="bf16" if device is not None and precision == "fp16" else precision,  # a GPU's time is the same
        checkpointing=execution.activation_checkpointing,
        device=device_kind(execution) if precision == "fp32" else kind,  # without autocast one trace serves both
        keeps_gradients=share.accumulation > 1 or execution.workers > 1,
        loss=config.train.loss,
    )
    rates, peak, words = _rates(device, trace, precision, tf32=tf32, threads=_threads(execution))
    forwards = share.accumulation * share.micro_batch_size / samples
    seconds = step_seconds(trace, rates, precision=precision, device=kind, forwards=forwards)
    return PlannedStep(seconds=seconds, peak_flops=peak, rests_on=words)


def _samples_on_cpu(config: RunConfig, micro_batch_size: int) -> int:
    """Return the samples of a forward whose kernels a CPU can run within seconds; the time is linear in them."""
    gmacs = model_gmacs(config.model)
    fitting = _TRACED_GFLOPS / (gmacs * FLOPS_PER_MAC * TRAINING_FACTOR) if gmacs else 1
    return max(1, min(micro_batch_size, int(fitting)))


def planned_device(execution: ExecutionConfig) -> Device | None:
    """Return the GPU that a run would use; None for this machine's CPU.

    Raises:
        InputError: where the GPU is not known.
    """
    if execution.device == "cpu":
        return None
    remedy = "Name one with --accelerator-type (A100, H100, RTX 4090, ...), or give --gflops"
    name = execution.accelerator_type
    if name is not None:
        found = named_device(name)
    elif torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        found = find_device(name)
    elif execution.device == "auto" and execution.workers == 1 and "RAY_ADDRESS" not in os.environ:
        return None  # as `train` would
    else:
        raise InputError("no GPU is here, and none is named", remedy)
    if found is None:
        raise InputError(f"{name} is not in the table of devices", remedy)
    return found


def _threads(execution: ExecutionConfig) -> int:
    """Return the threads of a CPU worker: one under Ray, which has a worker on each core."""
    return 1 if execution.workers > 1 or "RAY_ADDRESS" in os.environ else torch.get_num_threads()


def _rates(
    device: Device | None, trace: StepTrace, precision: Precision, *, tf32: bool, threads: int
) -> tuple[Rates, float, str]:
    if device is None:
        rates = _cpu_rates(trace, threads)
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        busy = f", at a load of {load:.0f} on {cores} cores: too slow" if load > cores + 1 else ""
        words = f"roofline of this CPU, {threads} thread{'s' * (threads > 1)}, rates measured just now{busy}"
        return rates, rates.product_flops, words
    fitted = "fitted on inference" if device.name in PRODUCT_SHARE else "as fitted on other GPUs"
    words = f"roofline of {device.name}, not measured: rates {fitted}, no GPU has confirmed a training step"
    return gpu_rates(device, tf32=tf32), device.flops(precision, tf32=tf32), words


@functools.lru_cache(maxsize=16)
def _cpu_rates(trace: StepTrace, threads: int) -> CpuRates:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return measure_cpu_rates(trace.kernels)
    finally:
        torch.set_num_threads(before)
