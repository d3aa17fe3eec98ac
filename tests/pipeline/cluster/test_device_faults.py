"""A GPU that fails ends no run at once: the next worker group starts on other nodes, and only once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import ray
import torch
from ray.train import WorkerGroupError

from pipeline.cluster import train_run
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.distributed.device_faults import DeviceFaultError, is_device_fault
from pipeline.distributed.process_group import Worker
from pipeline.failures import RunError, clear_failure, failure
from pipeline.job import Job, resolve_job
from pipeline.monitoring.device_fault_file import faulty_nodes, write_device_fault
from pipeline.run import run_job

ECC = torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be ...")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ECC, True),
        (RuntimeError("NCCL error: Xid 79, GPU has fallen off the bus"), True),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
        (ValueError("uncorrectable ECC error"), False),
    ],
)
def test_which_errors_are_faults_of_a_device(error: Exception, expected: bool) -> None:
    assert is_device_fault(error) == expected


@pytest.fixture
def job(micro_run: RunConfig, execution: ExecutionConfig) -> Job:
    return resolve_job(micro_run, execution)


def test_a_fault_moves_the_run_where_it_may_and_ends_it_where_not(job: Job) -> None:
    with patch("pipeline.run.train", side_effect=ECC):
        with pytest.raises(DeviceFaultError, match="ECC error encountered$"):
            run_job(job, Worker(), may_move=True)
        assert failure(job) is None
        with pytest.raises(RunError, match="ECC"):
            run_job(job, Worker())
    assert failure(job) is not None


def node(identity: str, gpus: int) -> dict[str, Any]:
    return {"NodeID": identity, "Alive": True, "Resources": {"GPU": gpus}, "Labels": {"pool": "lab"}}


@pytest.mark.parametrize(("others", "expected"), [(4, {"ray.io/node-id": "!in(bad)"}), (3, {})])
def test_the_next_workers_stay_off_the_node_where_others_have_room(
    others: int, expected: dict[str, str], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [node("bad", 4), node("good", others)])
    execution = replace(job.execution, device="cuda", workers=4, node_labels=(("pool", "lab"),))
    job = replace(job, execution=execution)
    assert train_run._labels(job) == {"pool": "lab"}
    write_device_fault(job.state_folder, node_id="bad", address="10.0.0.2", gpu="H100", error="ECC")
    assert train_run._labels(job) == {"pool": "lab", **expected}


def test_a_fault_is_forgotten_when_the_user_starts_the_run_again(job: Job) -> None:
    write_device_fault(job.state_folder, node_id="bad", address="10.0.0.2", gpu="H100", error="ECC")
    assert faulty_nodes(job.state_folder) == ["bad"]
    lost = WorkerGroupError("lost", {1: DeviceFaultError("CUDA error: uncorrectable ECC error encountered")})
    assert train_run._may_restart(job, lost)
    clear_failure(job)
    assert faulty_nodes(job.state_folder) == []
