"""Ray workers that share only a store: killed with their driver and its disk, and a sweep seen from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import RunConfig
from pipeline.object_store.objects import open_objects
from sharedris.config import to_dict
from tests.integration import workers
from tests.integration.object_server import KEY_ID, SECRET, Faults, proxy_of, s3_server
from tests.integration.test_object_store import Bucket, wait_for
from tests.integration.test_resume import train_arguments
from tests.integration.test_secrets import files_with

pytestmark = pytest.mark.slow
pytest.importorskip("obstore", reason="the extra `store` is not installed")
pytest.importorskip("moto", reason="the extra `dev` is not installed")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server for these tests."""
    with s3_server(tmp_path_factory.mktemp("server")) as number:
        yield number


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def arguments(toy_root: Path, runs: str) -> list[str]:
    """A run of two workers under a private Ray."""
    plain = train_arguments(toy_root, Path("RUNS"))
    return [*(runs if word == "RUNS" else word for word in plain), "--workers", "2", "--epochs", "40"]


def start(bucket: Bucket, words: list[str], **variables: str) -> BaseProcess:
    """Start `sharedris WORDS` on a host that may use the store."""
    return workers._start(command, [({**bucket.environment, **variables}, words, str(bucket.folder / "output"))])[0]


def command(environ: dict[str, str], words: list[str], output: str) -> None:
    """What a forked process does."""
    os.environ.update(environ)
    workers._command(words, output)


@pytest.fixture(scope="module")
def undisturbed(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves in a plain folder when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return workers.outcome_of_command(arguments(toy_root, str(folder / "runs")), folder)


def progress_of(bucket: Bucket) -> dict[str, Any]:
    """How far the run is, as the store has it."""
    with bucket.here():
        objects = open_objects(bucket.url)
        keys = [found.key for found in objects.below("state") if found.key.endswith("/progress.json")]
        answer = objects.get(keys[0]) if keys else None
    values: dict[str, Any] = {} if answer is None else json.loads(answer[0])
    return values


def wait_for_epoch(bucket: Bucket, epoch: int, process: Any, seconds: float = 600) -> dict[str, Any]:
    """Wait until the store has a progress of this epoch."""
    deadline = time.monotonic() + seconds
    while (reading := progress_of(bucket)).get("epoch", 0) < epoch:
        assert process.is_alive(), bucket.output
        assert time.monotonic() < deadline, bucket.output
        time.sleep(0.2)
    return reading


def test_workers_and_driver_are_killed_and_the_disk_is_lost(
    port: int, undisturbed: dict[str, Any], toy_root: Path, tmp_path: Path, short_folder: Path
) -> None:
    bucket = Bucket("ray", port, tmp_path / "host")
    words = arguments(toy_root, bucket.url)
    first = start(bucket, words, RAY_TMPDIR=str(short_folder))
    os.kill(wait_for_epoch(bucket, 3, first)["process"], signal.SIGKILL)
    killed_at = progress_of(bucket)["epoch"]
    wait_for_epoch(bucket, killed_at + 3, first)
    # The workers' log comes through the store, some seconds later.
    wait_for(lambda: "resumed after epoch" in bucket.output, first)
    first.kill()
    first.join()
    assert "lost workers and starts them again" in bucket.output
    assert not files_with(SECRET, short_folder) + files_with(KEY_ID, short_folder)
    while (bucket.folder / "cache").exists():  # orphans of the killed driver may still write there
        shutil.rmtree(bucket.folder / "cache", ignore_errors=True)
    faults = Faults()
    with proxy_of(port, faults) as through:
        second = start(Bucket("ray", through, bucket.folder), words, RAY_TMPDIR=str(short_folder))
        assert workers.finish([second], 600) == [0], bucket.output
    brought = Counter(path for method, path in faults.asked if method == "GET" and path.endswith(".pt"))
    print(f"two workers of one node brought {sorted(brought.items())}")
    assert set(brought.values()) == {1}, "a checkpoint goes to a node once"
    assert bucket.output.count("resumed after epoch") >= 2
    got = bucket.outcome(tmp_path / "fresh")
    for part in ("history", "weights", "samples", "record"):
        assert got[part] == undisturbed[part], part
    left = [key for key in bucket.all_keys() if "checkpoint-" in key or "placement" in key]
    assert not left
    assert not list((bucket.folder / "cache").rglob("workers/*/state")), "the worker's folder is removed"
    assert not files_with(SECRET, tmp_path) + files_with(SECRET, short_folder) + files_with(KEY_ID, short_folder)


def test_a_server_that_is_busy_and_away_for_a_minute(
    port: int, undisturbed: dict[str, Any], toy_root: Path, tmp_path: Path, short_folder: Path
) -> None:
    faults, seen = Faults(), Bucket("ray-busy", port, tmp_path / "host")
    with proxy_of(port, faults) as through:
        bucket = Bucket("ray-busy", through, tmp_path / "host")
        faults.share_of_503 = 0.2
        process = start(bucket, arguments(toy_root, bucket.url), RAY_TMPDIR=str(short_folder))
        wait_for_epoch(seen, 3, process)
        faults.away = True
        time.sleep(60)
        assert process.is_alive(), bucket.output
        faults.away = False
        assert workers.finish([process], 600) == [0], bucket.output
    print(f"{faults.refused} of {faults.requests} requests were refused")
    assert faults.refused > 30
    got = seen.outcome(tmp_path / "fresh")
    for part in ("history", "weights", "samples", "record"):
        assert got[part] == undisturbed[part], part


def test_a_sweep_is_run_on_one_host_and_seen_from_another(
    port: int, micro_run: RunConfig, toy_root: Path, tmp_path: Path, short_folder: Path
) -> None:
    one, two = (Bucket("sweep", port, tmp_path / name) for name in ("one", "two"))
    config = tmp_path / "config.json"
    config.write_text(json.dumps(to_dict(micro_run)))
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}

    def run(bucket: Bucket, *words: str) -> str:
        environ = {**clean, **bucket.environment, "RAY_TMPDIR": str(short_folder)}
        done = subprocess.run(
            [sys.executable, "-m", *words], env=environ, capture_output=True, text=True, timeout=600, check=False
        )
        return f"exit {done.returncode}\n{done.stdout}{done.stderr}"

    sweep = ("tests.integration.micro_sweep", str(toy_root), one.url, str(config))
    printed = run(one, *sweep)
    assert printed.startswith("exit 3"), printed
    assert printed.count("  done: ") == 3, printed
    assert "explodes" in printed
    records = [key for key in one.all_keys() if key.startswith("records/")]
    assert len(records) == 3
    assert [key for key in one.all_keys() if key.endswith("/failure.json")]
    listed = run(two, "pipeline.cli.main", "runs", "list", "--runs", two.url)
    assert listed.count("  done  ") == 3, listed
    assert "failed" in listed
    words = ("pipeline.cli.main", "report", "tables", "all", "--runs", two.url, "--out", str(tmp_path / "report"))
    report = run(two, *words)
    assert report.startswith("exit 0"), report
    assert (tmp_path / "report/index.html").exists()
    again = run(two, *sweep[:3], str(config))
    assert again.count("  done: ") == 0, "three cells are done, seen from a host that has not run them"
    assert not files_with(SECRET, tmp_path) + files_with(SECRET, short_folder) + files_with(KEY_ID, short_folder)
