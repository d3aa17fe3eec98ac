"""The first all-reduce of a worker group, with a short limit and a message that names both ends.

NCCL and gloo wait silently where an interface or a firewall keeps two nodes apart: for the limit of a training step,
15 minutes, and again after each restart.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _set_pg_timeout

FIRST_CONTACT_SECONDS = 60
"""How long workers may take to connect, once all their processes run."""


class FirstContactError(RuntimeError):
    """The workers of a group cannot reach each other; the message is one line."""


def no_contact(places: Sequence[str], cause: str) -> FirstContactError:
    """Return the error of a group whose workers do not reach each other.

    Args:
        places: address and interface of each worker, in order of rank.
        cause: what failed, of which rank.
    """
    named = ", ".join(f"rank {rank} at {place}" for rank, place in enumerate(places))
    return FirstContactError(
        f"{cause} ({named}): open all ports between these addresses, or name another interface by GLOO_SOCKET_IFNAME "
        "and NCCL_SOCKET_IFNAME before `ray start` on each node"
    )


def check_first_all_reduce(
    places: Sequence[str],
    device: torch.device,
    step_seconds: float,
    *,
    limit_seconds: float = FIRST_CONTACT_SECONDS,
) -> None:
    """Run one all-reduce within the limit, then set the limit of all later collectives; collective.

    In a thread, since NCCL connects inside the call and blocks it, whatever its timeout is.

    Raises:
        FirstContactError: when it does not end in time, fails, or adds up wrongly.
    """
    if len(places) < 2:
        return
    rank, outcome = dist.get_rank(), []
    # Longer than the wait below: NCCL ends the whole process at its own limit, and the message would be lost.
    _set_pg_timeout(timedelta(seconds=step_seconds))

    def reduce() -> None:
        try:
            ones = torch.ones(1, device=device)
            dist.all_reduce(ones)
            outcome.append(None if ones.item() == len(places) else f"sum {ones.item():g} of {len(places)} ones")
        except Exception as error:
            outcome.append((str(error).splitlines() or [type(error).__name__])[0])

    thread = threading.Thread(target=reduce, daemon=True, name="first all-reduce")
    thread.start()
    thread.join(limit_seconds)
    failed = outcome[0] if outcome else f"no answer for {limit_seconds:g} s"
    if failed is not None:
        raise no_contact(places, f"the first all-reduce of rank {rank} failed: {failed}")


def chosen_interfaces() -> str:
    """Return the interfaces that gloo and NCCL are bound to on this node."""
    names = {os.environ.get(name, "any interface") for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
    return " and ".join(sorted(names))
