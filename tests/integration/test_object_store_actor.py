"""A real S3 server that ignores the conditions of writes: an actor of a real Ray head keeps the leases of drivers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.lease_actor import NAMESPACE, actor_name
from pipeline.object_store.objects import open_objects
from tests.integration import workers
from tests.integration.driver_on import STALE_SECONDS
from tests.integration.object_server import Faults, proxy_of, s3_server
from tests.integration.ray_head import RayHead
from tests.integration.test_object_store import Bucket, wait_for
from tests.integration.test_object_store_ray import wait_for_epoch
from tests.integration.test_resume import train_arguments

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
pytest.importorskip("obstore", reason="the extra `store` is not installed")
pytest.importorskip("moto", reason="the extra `dev` is not installed")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server behind a proxy that hides the conditions of writes from it."""
    faults = Faults()
    faults.ignores_conditions = True
    with s3_server(tmp_path_factory.mktemp("server")) as number, proxy_of(number, faults) as through:
        yield through


def arguments(toy_root: Path, runs: str) -> list[str]:
    """A run that lasts longer than a second driver takes to start."""
    plain = train_arguments(toy_root, Path("RUNS"))
    return [*(runs if word == "RUNS" else word for word in plain), "--epochs", "60"]


@pytest.fixture(scope="module")
def undisturbed(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves in a plain folder, without Ray."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return workers.outcome_of_command(arguments(toy_root, str(folder / "runs")), folder)


class Driver:
    """A command of a host of its own in the cluster; its output goes where the bucket reads it."""

    def __init__(self, bucket: Bucket, words: list[str], head: RayHead) -> None:
        environ = {**head.environment, **bucket.environment, "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
        line = [sys.executable, "-m", "tests.integration.driver_on", bucket.folder.name, *words]
        with (bucket.folder / "output").open("a") as output:
            self._process = subprocess.Popen(line, env=environ, stdout=output, stderr=output)
        self.pid = self._process.pid

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ended(self, seconds: float) -> int:
        """Wait for its end and return the exit code."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()
        self._process.wait()


def actors(head: RayHead) -> dict[str, Any]:
    """The named actors of our namespace, and what the nodes have left of their CPUs."""
    script = (
        "import json, ray; ray.init(address='auto', logging_level='ERROR', log_to_driver=False);"
        "named = ray.util.list_named_actors(all_namespaces=True);"
        f"ours = [each['name'] for each in named if each['namespace'] == {NAMESPACE!r}];"
        "print(json.dumps({'ours': ours, 'cpus': ray.available_resources().get('CPU')}))"
    )
    done = head.run(sys.executable, "-c", script)
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values


def lease_in(bucket: Bucket) -> dict[str, Any]:
    """The store's copy of the lease."""
    with bucket.here():
        objects = open_objects(bucket.url)
        (key,) = [found.key for found in objects.below("state") if found.key.endswith("/driver.json")]
        answer = objects.get(key)
    assert answer is not None
    values: dict[str, Any] = json.loads(answer[0])
    return values


@pytest.mark.parametrize("also", ["nothing else", "the head"])
def test_a_killed_driver_is_followed_and_a_second_one_refused(
    also: str, port: int, undisturbed: dict[str, Any], toy_root: Path, tmp_path: Path
) -> None:
    name = f"actor-{also.rsplit(maxsplit=1)[-1]}"
    one, two, three = (Bucket(name, port, tmp_path / host) for host in ("one", "two", "three"))
    words = arguments(toy_root, one.url)
    with one.here(), RayHead(cpus=1) as head:  # its workers have the credentials of the head
        first = Driver(one, words, head)
        wait_for_epoch(one, 2, first)
        assert lease_in(one)["fence"] == 1
        if also == "nothing else":
            assert Driver(two, words, head).ended(600) == 2, two.output
            assert f"is being run by process {first.pid} on one" in two.output.splitlines()[-1], two.output
        assert first.is_alive(), one.output
        first.kill()
        killed = time.monotonic()
        if also == "nothing else":
            found = actors(head)
            assert found["ours"] == [actor_name(one.url)], "it outlives its driver"
            follows(Driver(three, words, head), three, killed, head)
    if also == "the head":
        with one.here(), RayHead(cpus=1) as head:
            assert actors(head)["ours"] == []
            follows(Driver(three, words, head), three, killed, head)
    got = three.outcome(tmp_path / "fresh")
    for part in ("history", "weights", "samples", "record"):
        assert got[part] == undisturbed[part], part


def follows(driver: Driver, bucket: Bucket, killed: float, head: RayHead) -> None:
    """See that a driver takes the lease over in time under the next number, and leaves no actor behind."""
    wait_for(lambda: lease_in(bucket)["fence"] == 2, driver, 600)
    after = time.monotonic() - killed
    print(f"taken over {after:.0f} s after the kill; the limit is {STALE_SECONDS:.0f} s without a beat")
    assert after > STALE_SECONDS - 2
    assert driver.ended(900) == 0, bucket.output
    assert "an actor of the Ray cluster locks runs" in bucket.output
    assert "resumed after epoch" in bucket.output, bucket.output
    assert lease_in(bucket)["released"] is True
    found = actors(head)
    assert found == {"ours": [], "cpus": 1.0}, "no lease is held, and it took no CPU"
