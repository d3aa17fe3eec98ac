"""Runs on a real S3 server on loopback: killed at any moment, with a server that fails, and against bad input."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.object_store import mirror as mirror_module
from pipeline.object_store import pusher
from pipeline.object_store.address import runs_folder, working_folder
from pipeline.object_store.layout import OF_A_RUN
from pipeline.object_store.mirror import Mirror
from pipeline.object_store.objects import Objects, open_objects
from tests.integration import workers
from tests.integration.object_server import BUCKET, KEY_ID, SECRET, Faults, environment, proxy_of, s3_server
from tests.integration.test_secrets import files_with

pytestmark = pytest.mark.slow
pytest.importorskip("obstore", reason="the extra `store` is not installed")
pytest.importorskip("moto", reason="the extra `dev` is not installed")
PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """One server for all tests, each of which has a prefix of its own."""
    with s3_server(tmp_path_factory.mktemp("server")) as number:
        yield number


@pytest.fixture(scope="module")
def long_run(micro_run: RunConfig) -> RunConfig:
    """Six epochs with drop path, so that generators matter."""
    encoder = replace(micro_run.model.encoder, drop_path=0.2)
    return replace(micro_run, model=replace(micro_run.model, encoder=encoder), train=replace(micro_run.train, epochs=6))


def job_at(config: RunConfig, prepared: Path | str, runs: Path, **options: Any) -> Job:
    """Return the job with checkpoints within epochs too."""
    execution = ExecutionConfig(
        device="cpu", prepared_root=str(prepared), runs_root=str(runs), checkpoint_every_steps=3, **options
    )
    return resolve_job(config, execution, provenance=PROVENANCE)


@pytest.fixture(scope="module")
def expected(long_run: RunConfig, toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the same run leaves in a plain folder."""
    job = job_at(long_run, toy_root, tmp_path_factory.mktemp("reference") / "runs")
    assert workers.finish(workers.start(job)) == [0]
    return workers.outcome(job)


class Bucket:
    """A prefix of the server as one host sees it."""

    def __init__(self, name: str, port: int, folder: Path) -> None:
        self.url, self.port, self.folder = f"s3://{BUCKET}/{name}", port, folder
        self.environment = environment(port, folder / "cache")
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, config: RunConfig, prepared: Path, *, kill_at_put: int | None = None) -> BaseProcess:
        """Start what `sharedris train --runs URL` does, as a process."""
        arguments = (self.environment, config, str(prepared), self.url, str(self.folder / "output"), kill_at_put)
        return workers._start(train_in_store, [arguments])[0]

    @property
    def output(self) -> str:
        """All that the processes have printed."""
        path = self.folder / "output"
        return path.read_text() if path.exists() else ""

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """This process as one that may use the store."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def all_keys(self) -> list[str]:
        """The keys below the prefix."""
        with self.here():
            return sorted(found.key for found in open_objects(self.url).below(""))

    def outcome(self, folder: Path) -> dict[str, Any]:
        """What a host that has never seen the run finds in the store."""
        with self.here():
            os.environ["SHAREDRIS_CACHE"] = str(folder)
            mirror = Mirror(working_folder(self.url), open_objects(self.url))
            mirror.pull(OF_A_RUN)
            return workers.outcome_below(mirror.root)


def train_in_store(
    environ: dict[str, str], config: RunConfig, prepared: str, url: str, output: str, kill_at_put: int | None
) -> None:
    """Train as the command does, in a process that is forked with everything imported."""
    from pipeline.cli.guarded import run_guarded
    from pipeline.cli.train import _train
    from pipeline.monitoring.console_log import log_to_console
    from pipeline.object_store.opened import opened_runs

    torch.set_num_threads(1)
    os.environ.update(environ)
    pusher.PUSH_SECONDS, mirror_module._OLD_PROBE_SECONDS = 0.02, -1.0  # a run here takes a second
    if kill_at_put is not None:
        _kill_self_at(kill_at_put)

    def train() -> int:
        runs = runs_folder(url)
        with log_to_console(20), opened_runs(runs):
            job = job_at(config, prepared, runs)
            return _train(job, job.execution, use_ray=False, experiment=None)

    with Path(output).open("a", buffering=1) as stream:
        sys.stdout = sys.stderr = stream
        sys.exit(run_guarded(train, name="train"))


def _kill_self_at(number: int) -> None:
    """Die before the n-th put where n is even, and after it where it is odd: then nothing here knows of it."""
    put, count = Objects.put, 0

    def counted(self: Objects, *args: Any, **options: Any) -> str:
        nonlocal count
        count += 1
        if count == number and number % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        e_tag = put(self, *args, **options)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return e_tag

    Objects.put = counted  # type: ignore[method-assign]


def ended(process: BaseProcess, seconds: float = 240) -> int | None:
    """Wait for a process and return its exit code."""
    return workers.finish([process], seconds)[0]


def assert_same(bucket: Bucket, expected: dict[str, Any], folder: Path) -> None:
    """Compare part by part, so that a failure says where; and see that only results are left."""
    got = bucket.outcome(folder)
    for part in ("history", "weights", "samples", "record"):
        assert got[part] == expected[part], part
    assert not [key for key in bucket.all_keys() if "checkpoint-" in key or ".probe" in key]


KILLED_AT = (2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 21, 24)
"""The first three puts of a start are probes of the store, the fourth is the lease."""


def test_killed_at_puts_and_at_random_moments_on_two_hosts(
    port: int, expected: dict[str, Any], long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    """Each start is on the other one of two hosts, which share nothing but the store."""
    hosts = [Bucket("killed", port, tmp_path / name) for name in ("one", "two")]
    rng, report = random.Random(0), []
    for number, put in enumerate([*KILLED_AT, None, None]):
        bucket = hosts[number % 2]
        process = bucket.start(long_run, toy_root, kill_at_put=put)
        process.join(120 if put is not None else rng.uniform(0.5, 4.0))
        process.kill()
        process.join()
        newest = max((key for key in bucket.all_keys() if key.endswith(".pt")), default="nothing")
        report.append(f"kill {number + 1} at put {put}, exit {process.exitcode}: {newest.rpartition('/')[2]} left")
    print(*report, sep="\n")
    assert ended(hosts[0].start(long_run, toy_root)) == 0, hosts[0].output
    assert_same(hosts[0], expected, tmp_path / "fresh")
    assert "resumed after epoch" in hosts[0].output + hosts[1].output
    assert ended(hosts[1].start(long_run, toy_root)) == 0
    assert "is done already" in hosts[1].output


def test_a_server_that_answers_503_to_a_third_of_all_requests(
    port: int, expected: dict[str, Any], long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    faults = Faults()
    faults.share_of_503 = 0.33
    with proxy_of(port, faults) as through:
        process = Bucket("busy", through, tmp_path).start(long_run, toy_root)
        assert ended(process) == 0, Bucket("busy", port, tmp_path).output
    assert faults.refused > 10
    print(f"{faults.refused} of {faults.requests} requests were refused")
    assert_same(Bucket("busy", port, tmp_path), expected, tmp_path / "fresh")


def test_a_server_that_is_away_for_a_minute(
    port: int, expected: dict[str, Any], long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    faults, bucket = Faults(), Bucket("away", port, tmp_path)
    with proxy_of(port, faults) as through:
        process = Bucket("away", through, tmp_path).start(long_run, toy_root)
        wait_for(lambda: any(key.endswith(".pt") for key in bucket.all_keys()), process)
        faults.away = True
        time.sleep(60)
        assert process.is_alive(), bucket.output
        faults.away = False
        assert ended(process) == 0, bucket.output
    assert faults.refused > 3
    assert_same(bucket, expected, tmp_path / "fresh")


def wait_for(is_there: Callable[[], bool], process: Any, seconds: float = 120) -> None:
    """Wait until something is there, as long as the process works."""
    deadline = time.monotonic() + seconds
    while not is_there():
        assert process.is_alive(), "the process ended"
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_large_file_goes_and_comes_in_parts(port: int, tmp_path: Path) -> None:
    bucket, content = Bucket("large", port, tmp_path), random.Random(0).randbytes(2**20) * 70
    (tmp_path / "large.pt").write_bytes(content)
    with bucket.here():
        objects = open_objects(bucket.url)
        first = objects.put("state/run/large.pt", tmp_path / "large.pt", replaces=None)
        found = objects.download("state/run/large.pt", tmp_path / "back.pt")
    assert found is not None
    assert found.e_tag == first
    assert first.endswith('-3"'), "S3's name of a version that came in three parts"
    assert (tmp_path / "back.pt").read_bytes() == content


def test_two_drivers_on_one_prefix(
    port: int, expected: dict[str, Any], long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    one, two = (Bucket("two-drivers", port, tmp_path / name) for name in ("one", "two"))
    first = one.start(long_run, toy_root)
    wait_for(lambda: any(key.endswith("driver.json") for key in one.all_keys()), first)
    assert ended(two.start(long_run, toy_root)) == 2
    lines = [line for line in two.output.splitlines() if line.startswith("train:")]
    assert len(lines) == 1
    assert f"is being run by process {first.pid} on " in lines[0]
    assert ended(first) == 0, one.output
    assert_same(one, expected, tmp_path / "fresh")


BAD = {
    "wrong bucket": ((404, "NoSuchBucket"), "there is no such bucket"),
    "no right": ((403, "AccessDenied"), "the store refuses: 403 AccessDenied"),
    "clock": ((403, "RequestTimeTooSkewed"), "the clock of this machine differs too much"),
    "no conditions": (None, "ignores the condition of a write"),
    "conditions refused": (None, "has no conditional writes"),
    "no credentials": (None, "no credentials were found"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_writes_nothing(
    name: str, port: int, long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    answer, words = BAD[name]
    faults = Faults()
    faults.answer, faults.ignores_conditions = answer, name == "no conditions"
    faults.refuses_conditions = name == "conditions refused"
    with proxy_of(port, faults) as through:
        bucket = Bucket("bad", through, tmp_path)
        if name == "no credentials":
            for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                del bucket.environment[variable]
        assert ended(bucket.start(long_run, toy_root)) == 2, bucket.output
    lines = bucket.output.splitlines()
    assert len(lines) == 1, bucket.output
    assert words in lines[0]
    assert ("RAY_ADDRESS" in lines[0]) == ("conditions" in name), "a shared cluster is a remedy"
    assert Bucket("bad", port, tmp_path).all_keys() == []
    assert not files_with(SECRET, tmp_path) + files_with(KEY_ID, tmp_path)


def test_no_secret_is_in_any_file_and_the_cache_is_bounded(
    port: int, long_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    bucket = Bucket("secrets", port, tmp_path)
    bucket.environment["SHAREDRIS_CACHE_GIB"] = "0"
    assert ended(bucket.start(long_run, toy_root)) == 0, bucket.output
    assert files_with("record: s3://", tmp_path), "the search finds what is there"
    assert not files_with(SECRET, tmp_path) + files_with(KEY_ID, tmp_path)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert [key for key in bucket.all_keys() if key.endswith(".safetensors")]
    shutil.rmtree(tmp_path / "cache")
    assert ended(bucket.start(long_run, toy_root)) == 0
    assert "is done already" in bucket.output
