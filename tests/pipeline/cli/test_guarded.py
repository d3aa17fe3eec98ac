"""No exception leaves a command, and no reader, encoding or disk of its output ends one: real processes and pipes."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from mlflow import MlflowClient

from pipeline.cli import runs
from pipeline.cli.guarded import run_guarded
from pipeline.cli.main import main
from pipeline.files import write_json
from pipeline.records import list_runs
from sharedris.errors import InputError
from sweeps.__main__ import main as sweeps_main
from tests.full_disk import no_large_files
from tests.pipeline.test_cli_runs import arguments


def raising(error: BaseException) -> Callable[..., int]:
    def act(*_: Any) -> int:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("x is 0", "Give 1"), 2, "cmd: x is 0. Give 1"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), 2, "cmd: disk full: /a/b could not be written"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 2, "cmd: disk full: a file could not be written"),
        (KeyboardInterrupt(), 130, "cmd: interrupted; the same command goes on"),
    ],
)
def test_what_a_user_can_fix_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_guarded(raising(error), name="cmd") == code
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert len(said.splitlines()) == 1


def test_a_file_that_finds_a_full_disk_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "explorer.html"
    with no_large_files(1000):
        assert run_guarded(lambda: write_json(path, "x" * 1001) or 0, name="cmd") == 2
    assert capsys.readouterr().err.startswith(f"cmd: disk full: {path} could not be written")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [TypeError("one\ntwo"), RecursionError(), ValueError("pw at http://me:hidden@host")])
def test_everything_else_is_one_line_that_names_a_file_with_the_trace(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_guarded(raising(error), name="cmd") == 70
    said = capsys.readouterr().err
    (trace,) = tmp_path.iterdir()
    assert re.fullmatch(rf"cmd: unexpected {type(error).__name__}: .* is in {trace}: please report it\n", said)
    assert "hidden" not in said
    assert trace.read_text().startswith("Traceback (most recent call last)")
    assert trace.stat().st_mode & 0o077 == 0


def test_a_trace_that_no_folder_takes_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    monkeypatch.chdir(tmp_path)
    with patch("tempfile.mkstemp", side_effect=PermissionError("no")):
        assert run_guarded(raising(TypeError("broken")), name="cmd") == 70
    assert "TypeError: broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [lambda: main(["runs"]), lambda: sweeps_main(["list"])], ids=["sharedris", "python -m sweeps"]
)
def test_both_commands_are_guarded(
    command: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(runs, "run", raising(TypeError("broken")))
    monkeypatch.setattr("sweeps.cli.list_sweeps.run", raising(TypeError("broken")))
    assert command() == 70
    assert "unexpected TypeError: broken" in capsys.readouterr().err


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash whose `sharedris` is this Python's."""
    program = f'set -o pipefail; sharedris() {{ {sys.executable} -m pipeline.cli.main "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def quoted(words: list[str]) -> str:
    return " ".join(f"'{word}'" for word in words)


@pytest.mark.slow
def test_the_training_goes_on_when_its_reader_is_gone(toy_root: Path, tmp_path: Path) -> None:
    ended = shell(f"sharedris {quoted(arguments(toy_root, tmp_path))} | true; echo ${{PIPESTATUS[0]}}")
    assert ended.stdout.split() == ["141"], ended.stderr
    assert ended.stderr == ""
    assert len(list_runs(tmp_path)) == 1
    again = shell(f"sharedris {quoted(arguments(toy_root, tmp_path))}")
    assert again.returncode == 0
    assert "is done already" in again.stdout


def test_output_on_a_full_disk_is_not_reported_as_done(tmp_path: Path) -> None:
    ended = shell(f"sharedris runs --runs {tmp_path} > /dev/full")
    assert ended.returncode == 141
    assert ended.stderr == ""


def test_letters_that_the_encoding_lacks_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "state" / "größe").mkdir(parents=True)
    ended = shell(f"sharedris runs --runs {tmp_path}", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert r"gr\xf6\xdfe" in ended.stdout


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGHUP, 129), (signal.SIGTERM, 143)],
    ids=["SIGHUP", "SIGTERM"],
)
@pytest.mark.slow
def test_a_hang_up_ends_a_training_like_sigterm(number: int, code: int, toy_root: Path, tmp_path: Path) -> None:
    words = [*arguments(toy_root, tmp_path), "--epochs", "500", "--experiment", "e"]
    command = [sys.executable, "-m", "pipeline.cli.main", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 60
    while not list(tmp_path.glob("state/*/checkpoint-*.json")) and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert said == "sharedris train: terminated; the same command goes on from here\n"
    assert not list(tmp_path.glob("state/*/driver.json"))
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])  # type: ignore[union-attr]
    assert run.info.status == "KILLED"


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert run_guarded(lambda: os.kill(os.getpid(), signal.SIGHUP) or 0, name="cmd") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_home_that_cannot_be_written_ends_nothing(toy_root: Path, tmp_path: Path) -> None:
    train = f"sharedris {quoted(arguments(toy_root, tmp_path / 'runs'))} --experiment e"
    report = f"{sys.executable} -m reports I --runs {tmp_path / 'runs'} --mlflow-run sweep:none"
    ended = shell(f"{train} && {report}", HOME="/proc/nowhere", XDG_CACHE_HOME="/proc/nowhere", MPLCONFIGDIR="")
    assert ended.returncode == 2, ended.stderr
    assert "no MLflow run has the tag" in ended.stderr.splitlines()[-1], "training, store and table were made"
    assert "Traceback" not in ended.stderr
