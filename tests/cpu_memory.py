"""The memory that a step takes on a CPU, as torch's profiler sees it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from sharedris.config import Precision


def skip_if_emulated(precision: Precision) -> None:
    """Skip the test on a processor where torch computes in this precision by other kernels."""
    if precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has no bf16 instructions: torch unfolds the images of a convolution, which takes memory")


def peak_bytes(step: Callable[[], object]) -> int:
    """Return the most bytes that a call holds above those held before it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    assert profile.profiler is not None
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in events))
