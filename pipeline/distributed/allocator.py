"""What the C library does with memory that tensors have freed, for runs on the CPU."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names of malloc.h
_LARGEST_KEPT_BYTES = 32 * 2**20  # the most that glibc allows
_KEPT_BYTES = 2**30


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors up to 32 MiB each for the next ones.

    By default each such tensor is a mapping of its own once in a while, and the system clears its pages anew in every
    step, unevenly, so that workers wait for each other. Another C library is left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
