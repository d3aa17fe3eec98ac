"""A job whose entry point runs on a worker node, on two hosts with their own addresses (`make test-cluster`, root)."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.hosts import DASHBOARD_PORT, TwoHosts
from tests.integration.ray_jobs import BIN, COMMIT, SMALL, Jobs, write_clone

pytestmark = pytest.mark.cluster
END_SECONDS = 1200  # of a job; a patience
_DRIVER = "sharedris sweep run framework"
_NODES = """
import json, ray
from ray.job_submission import JobSubmissionClient
ray.init(log_to_driver=False, logging_level=40)
job = JobSubmissionClient("{address}").get_job_info("{name}")
print(json.dumps([job.driver_node_id, {{node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes()}}]))
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHosts]:
    """Two hosts with a running Ray node of one CPU each, and a job server on the head."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("network namespaces need root, ip and unshare")
    with TwoHosts(tmp_path_factory.mktemp("hosts"), jobs=True) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def jobs(hosts: TwoHosts, tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """The job server of the head."""
    clone = write_clone(tmp_path_factory.mktemp("clone") / "project")
    return Jobs(hosts, f"http://{hosts.head.address}:{DASHBOARD_PORT}", clone)


def wait_for_end(hosts: TwoHosts, jobs: Jobs, name: str) -> str:
    """Wait until no process of the driver is left, and return how Ray says that the job ended."""
    deadline, status = time.monotonic() + END_SECONDS, ""
    while hosts.other.processes(_DRIVER) or not any(word in status for word in ("succeeded", "failed")):
        assert time.monotonic() < deadline, status + jobs.command("logs", name).stdout
        time.sleep(1)
        if not hosts.other.processes(_DRIVER):  # each answer is a process with Ray's imports
            status = jobs.command("status", name).stdout
    return status


def test_an_entry_point_on_a_worker_node(hosts: TwoHosts, jobs: Jobs, toy_root: Path, tmp_path: Path) -> None:
    settings = ["--runs", str(tmp_path), "--prepared", str(toy_root), "--epochs", "1", "--device", "cpu"]
    words = [str(BIN / "sharedris"), "sweep", "run", "framework", *settings, *SMALL.split()]
    there = ("--entrypoint-resources", f'{{"node:{hosts.other.address}": 0.01}}', "--submission-id=elsewhere")
    started = jobs.submit_with_code(*words, options=("--no-wait", *there))
    assert started.returncode == 0, started.stdout + started.stderr
    deadline = time.monotonic() + END_SECONDS
    while not hosts.other.processes(_DRIVER):
        assert time.monotonic() < deadline, jobs.command("status", "elsewhere").stdout
        time.sleep(0.2)
    assert not hosts.head.processes(_DRIVER)
    status = wait_for_end(hosts, jobs, "elsewhere")
    assert "succeeded" in status, status + jobs.command("logs", "elsewhere").stdout
    records = [pd.read_parquet(path) for path in (tmp_path / "records").glob("*.parquet")]
    assert len(records) == 2
    assert {commit for record in records for commit in record["git_commit"]} == {COMMIT}
    asked = jobs.head.run(sys.executable, "-c", _NODES.format(address=jobs.address, name="elsewhere"))
    assert asked.returncode == 0, asked
    node, nodes = json.loads(asked.stdout.splitlines()[-1])
    assert node == nodes[hosts.other.address]


def test_the_command_waits_for_a_job_on_a_worker_node_and_shows_its_output(hosts: TwoHosts, jobs: Jobs) -> None:
    there = ("--entrypoint-resources", f'{{"node:{hosts.other.address}": 0.01}}')
    ended = jobs.submit("ip", "-4", "address", options=there)
    assert ended.returncode == 0, ended
    assert f"inet {hosts.other.address}" in ended.stdout
    assert "succeeded" in ended.stdout
