"""Everything between a cluster that is joined and the first worker: device, room, capacity, files and versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.cluster.launch import Capacity, capacity
from pipeline.cluster.nodes import nodes_for, with_device
from pipeline.cluster.room import wait_for_room
from pipeline.cluster.storage_check import check_shared_storage
from pipeline.job import Job


def prepare_cluster(jobs: Sequence[Job]) -> tuple[list[Job], Capacity]:
    """Return the jobs with their device decided, and how many of them the cluster holds at once.

    Args:
        jobs: of one command: they share all but their configuration.

    Raises:
        InputError: when the cluster cannot hold one, or its nodes lack files or have other versions.
    """
    execution = with_device(jobs[0].execution, {job.config.model.scale for job in jobs})
    wait_for_room(execution)
    held = capacity(execution)
    check_shared_storage(jobs[0].runs_root, jobs[0].execution.reads, nodes=nodes_for(execution))
    return [replace(job, execution=replace(job.execution, device=execution.device)) for job in jobs], held
