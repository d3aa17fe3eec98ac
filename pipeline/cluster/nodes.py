"""Which nodes may hold workers of a run, and how many workers fit on those that are up."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import ray

from pipeline.cluster import autoscaler
from pipeline.config import ExecutionConfig

_SMALL_SCALES = {"tiny"}


def wants_gpu(execution: ExecutionConfig) -> bool:
    """Return whether each worker of the run requests a GPU."""
    if execution.device == "auto":
        return ray.cluster_resources().get("GPU", 0) >= 1
    return execution.device == "cuda"


def with_device(execution: ExecutionConfig, scales: Iterable[str]) -> ExecutionConfig:
    """Return the execution with its device decided once, so that no restart changes it.

    `auto` takes GPUs where the cluster has one or can have one. On a joined cluster only the tiny model goes to CPUs
    unasked: hours of a larger one there are a mistake.
    """
    if execution.device != "auto":
        return execution
    joined_large = "RAY_ADDRESS" in os.environ and not _SMALL_SCALES.issuperset(scales)
    has_gpu = wants_gpu(execution) or (autoscaler.possible("GPU") or 0) >= 1
    return replace(execution, device="cuda" if has_gpu or joined_large else "cpu")


def worker_resources(execution: ExecutionConfig) -> dict[str, float]:
    """Return what one worker holds."""
    resources = {"GPU" if wants_gpu(execution) else "CPU": 1.0}
    if execution.accelerator_type is not None:
        resources[f"accelerator_type:{execution.accelerator_type}"] = 0.001  # how Ray names the kind of a node's GPUs
    return resources


def nodes_for(execution: ExecutionConfig) -> list[dict[str, Any]]:
    """Return the nodes that are up and may hold a worker: by resource, kind of GPU and labels."""
    wanted, labels = worker_resources(execution), dict(execution.node_labels).items()
    return [
        node
        for node in ray.nodes()
        if node["Alive"]
        and all(node["Resources"].get(name, 0) >= amount for name, amount in wanted.items())
        and labels <= node.get("Labels", {}).items()
    ]


def workers_that_fit(execution: ExecutionConfig) -> int:
    """Return how many workers the nodes that are up can hold when they are free."""
    resource = next(iter(worker_resources(execution)))
    return sum(int(node["Resources"][resource]) for node in nodes_for(execution))


def describe_wait(execution: ExecutionConfig) -> str:
    """Return what a run waits for, in words; called while nothing of it has started."""
    if not ray.is_initialized():
        return "Ray"
    resource = next(iter(worker_resources(execution)))
    count, up = execution.min_workers or execution.workers, workers_that_fit(execution)
    free = ray.available_resources().get(resource, 0)
    where = "".join(
        [f" {execution.accelerator_type}" if execution.accelerator_type else "", *map(_label, execution.node_labels)]
    )
    return f"{count} {resource}{where}, {min(free, up):g} free of {up} that are up"


def _label(label: tuple[str, str]) -> str:
    return f" {label[0]}={label[1]}"
