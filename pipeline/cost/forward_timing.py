"""Seconds and peak memory of a model's forward pass, measured in a fresh process.

The command itself has imported libraries and counted operators of other models, which may take gigabytes. So each batch
size runs in a process that builds only this model, and what that process held before the model was built is subtracted.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import torch

from pipeline.cost.flops import example_inputs
from pipeline.cost.peak_memory import peak_memory_mib, resident_mib
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.errors import InputError
from sharedris.kernels import use_kernels
from sharedris.plugins import Plugin, load_shipped, loaded_plugins

REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class ForwardTiming:
    """One batch size: the best of three forward passes, and the peak memory of the model and its forward passes."""

    batch: int
    seconds_per_sample: float
    peak_memory_mib: float


def time_forward(config: ComparedModelConfig, batch: int) -> ForwardTiming:
    """Measure one batch size in a fresh process.

    Raises:
        InputError: when the process was ended, which is nearly always for lack of memory.
    """
    fresh = multiprocessing.get_context("spawn")  # a fork would inherit this process's memory
    try:
        with ProcessPoolExecutor(max_workers=1, mp_context=fresh) as process:
            return process.submit(_measure, config, batch, loaded_plugins(), torch.get_num_threads()).result()
    except BrokenProcessPool:
        raise InputError(f"the forward pass of {batch} samples was ended", "Choose a smaller --measure batch") from None


def _measure(config: ComparedModelConfig, batch: int, plugins: tuple[Plugin, ...], threads: int) -> ForwardTiming:
    load_shipped(plugins)
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = 0.0 if device == "cuda" else resident_mib()
    seconds = []
    with peak_memory_mib(device) as memory, torch.inference_mode():
        model = build_model(config).eval().to(device)
        use_kernels(model)
        inputs = [tensor.to(device) for tensor in example_inputs(config, batch)]
        model(*inputs)
        for _ in range(REPEATS):
            started = time.perf_counter()
            model(*inputs).sum().item()  # .item() waits for the device
            seconds.append(time.perf_counter() - started)
    return ForwardTiming(batch=batch, seconds_per_sample=min(seconds) / batch, peak_memory_mib=memory.mib - before)
