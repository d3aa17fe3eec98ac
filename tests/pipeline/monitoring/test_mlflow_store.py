"""A store that cannot be used is one line within 10 seconds, and any path of the runs is a store."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from pipeline.monitoring.mlflow_reachable import short_timeouts
from pipeline.monitoring.mlflow_store import TrackingError, make_database, one_line_errors, open_experiment
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.monitoring.mlflow_uri import tracking_uri
from tests.full_disk import no_large_files


def problem_of(runs: Path) -> str:
    began = time.monotonic()
    with pytest.raises(TrackingError) as refused:
        open_experiment(runs, "e")
    assert time.monotonic() - began < 10
    assert len(str(refused.value).splitlines()) == 1
    return refused.value.message


def test_a_folder_in_the_place_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    assert "unable to open database file" in problem_of(tmp_path)


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database" * 100)
    assert "file is not a database" in problem_of(tmp_path)


def test_a_database_that_another_program_has_locked(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "mlflow.db")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert "database is locked" in problem_of(tmp_path)
    finally:
        holder.close()


@pytest.mark.parametrize("address", ["sqlite:////proc/nowhere/mlflow.db", "sqlite:////proc/version"])
def test_a_place_that_cannot_be_written(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert address in problem_of(tmp_path)


def test_a_full_disk_is_named_and_the_store_works_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.monitoring.mlflow_store.make_database", make_database)
    with no_large_files():
        said = problem_of(tmp_path)
    assert "fails: disk full (" in said
    assert [path.name for path in tmp_path.iterdir()] == [".mlflow.lock"]
    assert open_experiment(tmp_path, "e").identity


def test_a_full_disk_of_artifacts_is_named(tmp_path: Path) -> None:
    """MLflow wraps the error of the system in one of its own."""
    error = MlflowException("cannot log")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(TrackingError, match="disk full .*Free some space there"), one_line_errors(tmp_path):
        raise error


def test_a_server_that_accepts_and_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hidden@127.0.0.1:{listener.getsockname()[1]}")
        said = problem_of(tmp_path)
    assert "http://me:***@127.0.0.1" in said
    assert "hidden" not in said


def test_the_short_timeouts_end_with_their_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with short_timeouts():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "4"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


@pytest.mark.parametrize("name", ["plain", "a b", "a?b", "a#b", "a%20b", "a%b", "größe", "a&b=c;d"])
def test_any_name_of_a_folder_is_a_store(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    runs = tmp_path / name
    tracker = Tracker(runs, "experiment")
    assert (runs / "mlflow.db").exists()
    run = tracker.parent("key", {})
    (tmp_path / "file.txt").write_text("x")
    tracker.client.log_artifact(run, str(tmp_path / "file.txt"), "folder")
    assert [file.path for file in tracker.client.list_artifacts(run, "folder")] == ["folder/file.txt"]
    assert [path.name for path in runs.rglob("file.txt")] == ["file.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {name, "file.txt"}


def test_make_ui_gets_the_address_from_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.monitoring.mlflow_uri", str(tmp_path / "a?b")]
    clean = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    said = subprocess.run(command, env=clean, capture_output=True, text=True, check=True).stdout
    assert said == tracking_uri(tmp_path / "a?b") + "\n"
    assert said.endswith("/a%3Fb/mlflow.db\n")
