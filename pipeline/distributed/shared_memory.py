"""Memory that the workers of one host share: each writes its row, and they wait for each other without going to sleep.

A collective of gloo wakes threads at both ends, which takes up to a tick of the kernel (4 ms) on a virtual machine
after the last worker has come; the batch statistics of one step alone need four. Here a worker looks until the others
have come, and goes to sleep only where they take long.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import select
import socket
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.distributed.process_group import COLLECTIVE_TIMEOUT_SECONDS, Worker

_FLOAT_BYTES = 4
_LINE_BYTES = 64
"""A worker's count has a cache line of its own."""

_LOOK_SECONDS = 0.02
_SLEEP_MILLISECONDS = 1
_KEEPS_ORDER_OF_STORES = ("x86_64", "AMD64")
"""Elsewhere a worker could see that another has come before it sees what that one wrote."""


class HostMemory:
    """Rows of float32, one of each worker, in two turns.

    A worker that is ahead writes its row of the next turn beside those that others still read. It cannot be ahead by
    more, since it waits for all of them in between.

    Args:
        memory: uint8, one line a worker that counts its turns, then float32 (2 turns, workers, values).
        others: file descriptors by which the kernel tells that another worker's process has ended; closed in the end.
    """

    def __init__(self, memory: Tensor, values: int, worker: Worker, others: list[int]) -> None:
        counts = memory[: worker.world_size * _LINE_BYTES].numpy().view(np.int64)
        self._turns_of_all = counts[:: _LINE_BYTES // counts.itemsize]
        self._rows = memory[worker.world_size * _LINE_BYTES :].view(torch.float32).view(2, worker.world_size, values)
        self._rank, self._turn = worker.rank, 0
        self._ended = select.poll()
        for descriptor in others:
            self._ended.register(descriptor, select.POLLIN)
            weakref.finalize(self, os.close, descriptor)

    @property
    def own(self) -> Tensor:
        """This worker's row, (values), to be written before it meets the others."""
        return self._rows[self._turn % 2, self._rank]

    def meet(self) -> Tensor:
        """Wait until all have written their rows and return them, (workers, values); they hold until the next meeting.

        Raises:
            DistError: when another worker has ended, the process group was taken away, or nothing happens for as long
                as a collective may take.
        """
        rows = self._rows[self._turn % 2]
        self._turn += 1
        self._turns_of_all[self._rank] = self._turn
        began = time.perf_counter()
        while self._turns_of_all.min() < self._turn:
            if time.perf_counter() - began < _LOOK_SECONDS:
                os.sched_yield()
            else:
                self._sleep(began)
        return rows

    def _sleep(self, began: float) -> None:
        if self._ended.poll(_SLEEP_MILLISECONDS) and self._turns_of_all.min() < self._turn:
            raise dist.DistError("another worker of this host has ended")
        if not dist.is_initialized():
            raise dist.DistError("the process group was taken away")
        if time.perf_counter() - began > COLLECTIVE_TIMEOUT_SECONDS:
            raise dist.DistError(f"another worker did not come in {COLLECTIVE_TIMEOUT_SECONDS} s")


def open_host_memory(values: int, worker: Worker) -> HostMemory | None:
    """Return memory for rows of so many values, or None where the workers do not share a host; collective.

    It has no name in any file system, so that it is gone with its workers, however they end.
    """
    if len(set(worker.gather(_host()))) > 1 or platform.machine() not in _KEEPS_ORDER_OF_STORES:
        return None
    size = worker.world_size * (_LINE_BYTES + 2 * values * _FLOAT_BYTES)
    descriptor, offer = None, None
    if worker.is_main_process:
        with contextlib.suppress(AttributeError, OSError):  # not Linux; no memory left
            descriptor = os.memfd_create("workers")
            os.posix_fallocate(descriptor, 0, size)
            offer = f"/proc/{os.getpid()}/fd/{descriptor}"
    try:
        offer = worker.gather(offer)[0]
        memory = None if offer is None else _map(offer, size)
        nonce = secrets.token_bytes(8)
        if worker.is_main_process and memory is not None:
            memory[-8:] = torch.frombuffer(bytearray(nonce), dtype=torch.uint8)
        nonces, processes = zip(*worker.gather((nonce, os.getpid())), strict=True)
        # Another container may have a process of that number with another file of that number.
        shares = memory is not None and bytes(memory[-8:].tolist()) == nonces[0]
        others = _watch(processes, worker) if shares else None
        all_share = all(worker.gather(others is not None))
    finally:
        if descriptor is not None:
            os.close(descriptor)
    if memory is None or others is None or not all_share:
        for other in others or ():
            os.close(other)
        return None
    return HostMemory(memory, values, worker, others)


def _host() -> str:
    """Return what tells this host, or container with an address of its own, from others."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/net').readlink()}"
    except OSError:  # not Linux
        return socket.gethostname()


def _map(path: str, size: int) -> Tensor | None:
    try:
        if Path(path).stat().st_size != size:
            return None
        return torch.from_file(path, shared=True, size=size, dtype=torch.uint8)
    except (OSError, RuntimeError):
        return None


def _watch(processes: Sequence[int], worker: Worker) -> list[int] | None:
    """Return descriptors that become readable when the other workers' processes end, or None."""
    opened: list[int] = []
    try:
        for rank, process in enumerate(processes):
            if rank != worker.rank:
                opened.append(os.pidfd_open(process))
    except (AttributeError, OSError):
        for descriptor in opened:
            os.close(descriptor)
        return None
    return opened
