"""What a worker of a run reserves in Ray: its GPU with the cores that load its data, or one core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ray

from pipeline.config import ExecutionConfig
from pipeline.data.dataset.train_loader import processes_beside


def worker_resources(execution: ExecutionConfig, *, on_gpu: bool) -> dict[str, float]:
    """Return the resources of one worker in the cluster that is up."""
    if not on_gpu:
        return {"CPU": 1}
    return {"GPU": 1, "CPU": cores_of_gpu_worker(execution, ray.nodes())}


def cores_of_gpu_worker(execution: ExecutionConfig, nodes: Iterable[Mapping[str, Any]]) -> int:
    """Return the cores of a worker with a GPU: one, and one per loader process.

    Never more than the smallest node has per GPU, since Ray would wait for such a node without end. None while no node
    with a GPU is up.
    """
    held = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    if not held:
        return 0
    cores = min(int(each.get("CPU", 0) // each["GPU"]) for each in held)
    loading = execution.loader_workers
    return min(cores, 1 + (processes_beside(cores, 1) if loading is None else loading))
