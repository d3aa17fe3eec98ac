"""Peak memory of a piece of work: the process's resident set on Linux, the allocator's peak on CUDA."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch


@dataclass
class PeakMemory:
    """Filled when the context ends."""

    mib: float = float("nan")


@contextmanager
def peak_memory_mib(device: str) -> Iterator[PeakMemory]:
    """Measure the peak memory while the context lasts, including what was allocated before."""
    peak = PeakMemory()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # Linux resets the high-water mark; elsewhere it is the process's highest so far
            Path("/proc/self/clear_refs").write_text("5")
    yield peak
    peak.mib = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else resident_peak_mib()


def resident_peak_mib() -> float:
    """Return the peak resident memory of this process; `ru_maxrss` would include the peak of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mib() -> float:
    """Return the resident memory of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20
