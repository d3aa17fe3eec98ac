"""The rates of this CPU, measured by the kernels of a trace: at their own shapes and in their own precision.

A CPU has no share of a peak that serves all operators: exp and erf take longer than memory does, small and large
products run by different libraries, and bfloat16 may be emulated. So each operator has its own ceiling. The kernels
that hold the time are run one by one, within some seconds; others of an operator take the share that those reached.

The overhead of a kernel is what a step of a very small model takes beyond its kernels: Python, autograd and dispatch.
"""

from __future__ import annotations

import functools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from pipeline.cost.devices import cpu_product_flops
from pipeline.cost.step_timing import StepShape, make_step
from pipeline.cost.step_trace import Call, Kernel, Operand, trace_step
from sharedris.baselines.config import ComparedModelConfig
from sharedris.cpu_kernels import large_on_cpu, product
from sharedris.scales import tiny

aten = torch.ops.aten
Clock = Callable[[], float]
MEASURED_SECONDS = 6.0
"""Time for measurements, about."""
_COPIED_BYTES = 2**26
_PROBED = 2**22
"""Elements of the parameter on which the optimizer's kernels are measured."""
_MEASURED_SHARE = 0.99
"""Of the time at full rate: the kernels that hold it are run, if there is time."""
_ONCE_SECONDS, _ENOUGH_SECONDS, _REPEATS = 0.3, 0.01, 5
_OVERHEAD_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class CpuRates:
    """The rates of this process.

    Attributes:
        product_flops: of large float32 products, per second.
        bandwidth: of a copy that no cache holds, in bytes per second.
        overhead_seconds: of a kernel in a training step.
        measured: seconds of the kernels that were run.
        shares: of the two rates that an operator's kernels reached, by name and type.
        product_share: that all products reached: for products of which none was run.
    """

    product_flops: float
    bandwidth: float
    overhead_seconds: float
    measured: dict[Kernel, float]
    shares: dict[tuple[str, torch.dtype], float]
    product_share: float = 1.0

    def seconds(self, kernel: Kernel) -> float:
        """Return the time of a kernel, with its overhead."""
        known = self.measured.get(kernel)
        if known is None:
            share = self.shares.get((kernel.name, kernel.dtype), self.product_share if kernel.flops else 1.0)
            known = _at_full_rate(kernel, self.product_flops, self.bandwidth) / share
        return known + self.overhead_seconds


def measure_cpu_rates(
    kernels: Iterable[Kernel],
    *,
    seconds: float | None = MEASURED_SECONDS,
    clock: Clock = time.perf_counter,
) -> CpuRates:
    """Return the rates for the kernels of a trace, measured with this process's threads. No random number is drawn.

    Args:
        kernels: of the trace.
        seconds: for all measurements, about: kernels that do not fit are left out; None runs each one twice or more.
        clock: `time.process_time` on a busy machine, with one thread.
    """
    flops, bandwidth = cpu_product_flops(), _copy_bandwidth(clock)
    rate = functools.partial(_at_full_rate, flops=flops, bandwidth=bandwidth)
    largest = _largest(kernels, rate)
    with torch.random.fork_rng(devices=[]):  # kernels of dropout, and a model's first weights
        measured = _measure([*_optimizer_probes(), *largest], clock, limit=seconds, rate=rate)
        overhead = _overhead(clock)
    shares, product_share = _shares(measured, rate)
    return CpuRates(
        product_flops=flops,
        bandwidth=bandwidth,
        overhead_seconds=overhead,
        measured=measured,
        shares=shares,
        product_share=product_share,
    )


def _largest(kernels: Iterable[Kernel], seconds_of: Callable[[Kernel], float]) -> list[Kernel]:
    """Return the distinct kernels that hold nearly all of the time, the largest first."""
    counts = Counter(kernel for kernel in kernels if kernel.call is not None)
    times = {kernel: count * seconds_of(kernel) for kernel, count in counts.items()}
    left, largest = sum(times.values()), []
    smallest = (1 - _MEASURED_SHARE) * left
    for kernel in sorted(times, key=lambda each: times[each], reverse=True):
        if left <= smallest:
            break
        largest.append(kernel)
        left -= times[kernel]
    return largest


def _at_full_rate(kernel: Kernel, flops: float, bandwidth: float) -> float:
    return max(kernel.flops / flops, kernel.bytes_moved / bandwidth)


def _shares(
    measured: dict[Kernel, float], rate: Callable[[Kernel], float]
) -> tuple[dict[tuple[str, torch.dtype], float], float]:
    """Return the share of the full rate by operator, and that of all products."""
    times: dict[tuple[str, torch.dtype], list[tuple[float, float]]] = defaultdict(list)
    for kernel, seconds in measured.items():
        times[kernel.name, kernel.dtype].append((rate(kernel), seconds))
    products = [(rate(kernel), seconds) for kernel, seconds in measured.items() if kernel.flops]
    return {key: _share(pairs) for key, pairs in times.items()}, _share(products)


def _share(pairs: list[tuple[float, float]]) -> float:
    """Return the sum of wanted seconds over that of taken ones; 1 where there are none."""
    wanted, taken = (sum(seconds) for seconds in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    return wanted / taken if wanted and taken else 1.0


def _measure(
    kernels: Iterable[Kernel], clock: Clock, *, limit: float | None, rate: Callable[[Kernel], float]
) -> dict[Kernel, float]:
    """Return the seconds of kernels. With a limit the small ones are first, and those are left out that do not fit."""
    started = clock()
    measured: dict[Kernel, float] = {}
    with torch.no_grad():
        for kernel in kernels if limit is None else sorted(kernels, key=rate):
            if kernel.call is None:
                continue
            if limit is not None and _expected(kernel, measured, rate) > limit - (clock() - started):
                continue
            measured[kernel] = _time(_repeated(kernel.call), clock, again=limit is None)
    return measured


def _expected(kernel: Kernel, measured: dict[Kernel, float], rate: Callable[[Kernel], float]) -> float:
    """Return the seconds that a kernel will take, as far as the measured ones tell."""
    shares, product_share = _shares(measured, rate)
    return rate(kernel) / shares.get((kernel.name, kernel.dtype), product_share if kernel.flops else 1.0)


def _time(work: Callable[[], object], clock: Clock, *, again: bool = False) -> float:
    """Return the median time of a call after the first; of the first where that takes long, unless `again`."""
    started = clock()
    work()
    first = clock() - started
    if first > _ONCE_SECONDS and not again:
        return first
    seconds: list[float] = []
    while len(seconds) < _REPEATS and sum(seconds) < _ENOUGH_SECONDS:
        started = clock()
        work()
        seconds.append(clock() - started)
    return sorted(seconds)[len(seconds) // 2]


def _repeated(call: Call) -> Callable[[], object]:
    """Return the call of a kernel on tensors of its own; large float32 products as a model's layers make them."""
    args = _filled(call.args)
    kwargs = {name: _filled(value) for name, value in call.kwargs}
    packet = call.operator._overloadpacket
    if packet in (aten.mm, aten.addmm):
        *bias, left, right = args
        if left.dtype == right.dtype == torch.float32 and large_on_cpu(left, left.numel() * right.shape[1]):
            return lambda: product(left, right.t(), *bias)
    return lambda: call.operator(*args, **kwargs)


def _filled(value: Any) -> Any:
    """Return an operand with memory on the CPU; halves in floats, since a kernel's time does not depend on values."""
    if isinstance(value, Operand):
        reach = 1 + sum((size - 1) * stride for size, stride in zip(value.shape, value.stride, strict=True))
        number = 0.5 if value.dtype.is_floating_point else 0
        return torch.full((max(reach, 1),), number, dtype=value.dtype).as_strided(value.shape, value.stride)
    if isinstance(value, tuple):
        return [_filled(each) for each in value]
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _optimizer_probes() -> list[Kernel]:
    """Return kernels of clipping and AdamW on one parameter."""
    part = Operand(torch.Size([_PROBED]), (1,), torch.float32)
    number = Operand(torch.Size([]), (), torch.float32)
    rest = {"lr": 1e-4, "beta1": 0.9, "beta2": 0.98, "weight_decay": 0.01, "eps": 1e-8, "amsgrad": False}
    adamw = Call(
        aten._fused_adamw_.default,
        ((part,), (part,), (part,), (part,), (), (number,)),
        (*rest.items(), ("maximize", False)),
    )
    size = 4 * _PROBED
    calls = {
        "_fused_adamw_": (7 * size, adamw),
        "linalg_vector_norm": (size, Call(aten.linalg_vector_norm.default, (part,), ())),
        "mul_": (2 * size, Call(aten.mul_.Tensor, (part, number), ())),
    }
    return [
        Kernel(name=name, flops=0, bytes_moved=moved, dtype=torch.float32, call=call)
        for name, (moved, call) in calls.items()
    ]


def _copy_bandwidth(clock: Clock) -> float:
    source = torch.zeros(_COPIED_BYTES // 4) + 1
    target = torch.empty_like(source)
    return 2 * _COPIED_BYTES / _time(lambda: target.copy_(source), clock)


def _overhead(clock: Clock) -> float:
    """Return what a kernel of a training step takes beyond its own time, from a step that has little else, in fp32."""
    model = _small_model()
    kernels = trace_step(model, micro_batch_size=2, precision="fp32", device="cpu").kernels
    alone = _measure(dict.fromkeys(kernels), clock, limit=None, rate=lambda kernel: 0.0)
    step = make_step(StepShape(model=model, micro_batch_size=2, precision="fp32"), torch.device("cpu"), optimizes=False)
    step()
    taken = []
    for _ in range(_OVERHEAD_STEPS):
        started = clock()
        step()
        taken.append(clock() - started)
    spent = sum(alone.get(kernel, 0.0) for kernel in kernels)
    return max(0.0, (sorted(taken)[len(taken) // 2] - spent) / len(kernels))


@functools.lru_cache(maxsize=1)
def _small_model() -> ComparedModelConfig:
    model = tiny()
    encoder = replace(model.encoder, layers=2, image_size=2 * model.encoder.patch_size)
    return replace(model, encoder=encoder, fpn=replace(model.fpn, stages=(1, 2)))
