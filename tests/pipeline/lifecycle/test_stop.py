"""`sweeps stop` ends the driver and no other process: real drivers, real innocent processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.lifecycle import heartbeat as heartbeat_module
from pipeline.lifecycle.heartbeat import has_live_driver, heartbeat_path, read_heartbeat, update_heartbeat
from pipeline.lifecycle.locks import driver_lock
from pipeline.lifecycle.stop import stop_driver
from sharedris.errors import InputError

DRIVER = """
import sys, time
from pathlib import Path
from pipeline.lifecycle.locks import driver_lock
with driver_lock(Path(sys.argv[1])):
    time.sleep(60)
"""


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this user that has nothing to do with any run."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    assert process.poll() is None, "an innocent process was signalled"
    process.kill()
    process.wait()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real driver that holds `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)])
    deadline = time.time() + 30
    while not heartbeat_path(tmp_path).exists() and time.time() < deadline:
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def write(folder: Path, **fields: Any) -> None:
    """Write a heartbeat file by hand."""
    values = {"host": socket.gethostname(), "process": 1, "since": time.time(), "process_started": time.time()}
    heartbeat_path(folder).write_text(json.dumps({**values, **fields}))


def test_a_driver_is_ended(driver: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert has_live_driver(tmp_path)
    assert stop_driver(tmp_path, "it") == (
        f"asked process {driver.pid} to end; the same `run` goes on from the last checkpoints"
    )
    assert driver.wait(timeout=20) == -signal.SIGTERM
    assert not has_live_driver(tmp_path), "SIGTERM without a handler leaves the file behind"
    assert "had ended already" in stop_driver(tmp_path, "it")
    with pytest.raises(InputError, match="no driver runs it"):
        stop_driver(tmp_path, "it")


@pytest.mark.parametrize("version", ["this", "0.1"])
def test_a_stale_file_with_a_reused_number_ends_nothing(
    version: str, innocent: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    times: dict[str, Any] = {"process_started": 1e9} if version == "this" else {"since": 1e9, "process_started": None}
    write(tmp_path, process=innocent.pid, **times)
    assert not has_live_driver(tmp_path)
    assert "had ended already" in stop_driver(tmp_path, "it")
    assert not heartbeat_path(tmp_path).exists()


@pytest.mark.parametrize("number", ["innocent", 0, -1, 1, "own group", "own process"])
def test_a_locked_folder_whose_file_names_another_process_ends_nothing(
    number: int | str, innocent: subprocess.Popen[bytes], driver: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    named = {"innocent": innocent.pid, "own group": -os.getpgrp(), "own process": os.getpid()}
    started = psutil.Process().create_time() if number == "own process" else 1e9
    write(tmp_path, process=named.get(str(number), number), process_started=started)
    with pytest.raises(InputError, match="is locked, but process .* is not its driver"):
        stop_driver(tmp_path, "it")
    assert driver.poll() is None


def test_a_driver_of_version_0_1_is_found_and_ended(driver: subprocess.Popen[bytes], tmp_path: Path) -> None:
    values = json.loads(heartbeat_path(tmp_path).read_text())
    del values["process_started"]
    heartbeat_path(tmp_path).write_text(json.dumps(values))
    assert has_live_driver(tmp_path)
    assert "asked process" in stop_driver(tmp_path, "it")
    assert driver.wait(timeout=20) == -signal.SIGTERM


def test_this_versions_file_holds_what_version_0_1_reads(tmp_path: Path) -> None:
    with driver_lock(tmp_path):
        values = json.loads(heartbeat_path(tmp_path).read_text())
    assert values["host"] == socket.gethostname()
    assert values["process"] == os.getpid()
    assert isinstance(values["since"], float)


def test_a_driver_of_another_user_is_refused(
    driver: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(InputError, match="the driver of it belongs to .*Ask this user to stop it"):
        stop_driver(tmp_path, "it")
    assert driver.poll() is None


def test_a_driver_on_another_host_is_named_with_its_command(driver: subprocess.Popen[bytes], tmp_path: Path) -> None:
    write(tmp_path, host="elsewhere", process=driver.pid)
    with pytest.raises(InputError, match=f"it runs on elsewhere. Run this there: kill {driver.pid}"):
        stop_driver(tmp_path, "it")


@pytest.mark.parametrize(
    "content", ["", "[]", "null", '{"host": 1}', '{"host": "h", "process": true, "since": 1}', "\0"]
)
def test_a_damaged_file_counts_as_none(content: str, driver: subprocess.Popen[bytes], tmp_path: Path) -> None:
    heartbeat_path(tmp_path).write_text(content)
    assert read_heartbeat(tmp_path) is None
    assert not has_live_driver(tmp_path)
    with pytest.raises(InputError, match="heartbeat file cannot be read"):
        stop_driver(tmp_path, "it")


def test_a_folder_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no driver runs it"):
        stop_driver(tmp_path / "none", "it")
    assert not (tmp_path / "none").exists()


def test_the_heartbeat_of_another_host_counts_by_its_age(tmp_path: Path) -> None:
    write(tmp_path, host="elsewhere")
    assert has_live_driver(tmp_path)
    os.utime(heartbeat_path(tmp_path), (0, 0))
    assert not has_live_driver(tmp_path)


def test_the_driver_updates_its_heartbeat(tmp_path: Path) -> None:
    with driver_lock(tmp_path):
        os.utime(heartbeat_path(tmp_path), (0, 0))
        update_heartbeat(tmp_path)
        assert heartbeat_path(tmp_path).stat().st_mtime > 1e9
    update_heartbeat(tmp_path)
    assert not heartbeat_path(tmp_path).exists()


def test_a_corrected_clock_does_not_lose_the_driver(
    driver: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat = read_heartbeat(tmp_path)
    assert heartbeat is not None
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: float(heartbeat.process_started or 0) + 1.0)
    assert heartbeat_module.driver_process(heartbeat) is not None
