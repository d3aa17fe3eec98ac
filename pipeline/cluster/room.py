"""Waits until the nodes of a joined cluster can hold a run: asks the autoscaler, and logs what it waits for."""

from __future__ import annotations

import logging
import os
import time

from pipeline.cluster import autoscaler
from pipeline.cluster.nodes import worker_resources, workers_that_fit
from pipeline.config import ExecutionConfig
from sharedris.errors import InputError

log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
_LINE_SECONDS = 60.0
_ANSWER_SECONDS = 45.0
"""How long an autoscaler that we do not know may take to start a node; none is there after that."""


def wait_for_room(execution: ExecutionConfig, *, poll_seconds: float = _POLL_SECONDS) -> None:
    """Wait until the nodes that are up can hold one run, whether or not they are free.

    Returns early, for `pipeline.cluster.launch.capacity` to refuse the run, where nobody starts nodes.

    Raises:
        InputError: when all nodes that may start are too few, or not up within `--wait-for-resources`.
    """
    wanted = execution.min_workers or execution.workers
    if "RAY_ADDRESS" not in os.environ or workers_that_fit(execution) >= wanted:
        return
    resources = worker_resources(execution)
    resource = next(iter(resources))
    most, minutes = autoscaler.possible(resource), execution.wait_for_resources
    if most is not None and most < wanted and minutes is None:
        raise InputError(
            f"the cluster cannot hold a run of {execution.workers} workers: its autoscaler may start nodes up to "
            f"{most:g} {resource}, and a run needs {wanted}",
            f"Set WORKERS (--workers) to {most:g} or less" if most else "Add such nodes, or choose --device cpu",
        )
    is_answered = most is not None and most >= wanted
    autoscaler.request_workers([resources] * wanted, dict(execution.node_labels))
    try:
        _wait(execution, wanted, resource, is_answered=is_answered, poll_seconds=poll_seconds)
    finally:
        autoscaler.request_workers([], {})  # the run's own placement group asks from here on


def _wait(execution: ExecutionConfig, wanted: int, resource: str, *, is_answered: bool, poll_seconds: float) -> None:
    began, clock, line_due = time.monotonic(), time.strftime("%H:%M:%S"), 0.0
    minutes = execution.wait_for_resources
    while (up := workers_that_fit(execution)) < wanted:
        waited = time.monotonic() - began
        if waited >= line_due:
            log.warning("waiting for %d %s, %d up, since %s: the autoscaler was asked", wanted, resource, up, clock)
            line_due = waited + _LINE_SECONDS
        if minutes is not None and waited > 60 * minutes:
            raise InputError(
                f"{wanted} {resource} were not there within {minutes:g} minutes: {up} are up",
                "Start nodes, or raise --wait-for-resources; the same command goes on",
            )
        if minutes is None and not is_answered:
            is_answered = autoscaler.is_launching()
            if not is_answered and waited > _ANSWER_SECONDS:
                return
        time.sleep(poll_seconds)
