"""`sharedris train`, `evaluate` and `runs` in this process."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pipeline.cli.main import main
from pipeline.files import write_json
from pipeline.lifecycle import locks
from pipeline.lifecycle.locks import driver_lock
from pipeline.monitoring.progress import Progress, ProgressFile


@pytest.fixture(scope="module")
def trained(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with one small run that the command trained."""
    runs = tmp_path_factory.mktemp("trained")
    assert main(arguments(toy_root, runs)) == 0
    return runs


def arguments(toy_root: Path, runs: Path) -> list[str]:
    small = ["--model.fpn.stages", "1", "2", "--model.encoder.layers=2", "--model.encoder.image-size=64"]
    shape = ["--epochs", "2", "--global-batch-size", "8", "--device", "cpu"]
    return ["train", "--prepared", str(toy_root), "--runs", str(runs), *shape, *small]


def test_a_finished_run_is_not_trained_again(trained: Path, toy_root: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(arguments(toy_root, trained)) == 0
    assert "is done already: its record is in" in capsys.readouterr().out


def test_a_held_run_is_refused_with_its_holder(trained: Path, toy_root: Path, capsys: pytest.CaptureFixture) -> None:
    run = next((trained / "models").iterdir()).name
    with driver_lock(trained / "state" / run):
        assert main(arguments(toy_root, trained)) == 2
    assert f"sharedris train: {run} is being run by process" in capsys.readouterr().err


def test_evaluate_scores_the_model_as_the_record_does(
    trained: Path, toy_root: Path, capsys: pytest.CaptureFixture
) -> None:
    import pandas as pd

    record = pd.read_parquet(next((trained / "records").glob("*.parquet")))
    model = str(next((trained / "models").iterdir()))
    assert main(["evaluate", model, "toyplus_unc/val", "--prepared", str(toy_root), "--json", "--device", "cpu"]) == 0
    scores = json.loads(capsys.readouterr().out)
    for _, row in record.iterrows():
        assert scores[row["protocol"]]["oiou"] == row["oiou"]
        assert scores[row["protocol"]]["samples"] == row["samples"]


def test_an_exported_model_knows_how_it_was_scored(trained: Path) -> None:
    config = json.loads(next((trained / "models").glob("*/config.json")).read_text())
    assert config["precision"] == "fp32"


def test_a_folder_that_cannot_be_written_is_one_line(
    toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert main(arguments(toy_root, tmp_path / "file" / "runs")) == 2
    said = capsys.readouterr().err
    assert "cannot be written: Not a directory. Free some space, or set --runs" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("place", "problem", "code", "said"),
    [
        ("pipeline.data.dataset.image_store.content_digest", lambda _: "other", 2, "Restore the file, or prepare"),
        ("torch.save", Mock(side_effect=OSError(errno.ENOSPC, "No space left")), 2, "disk full: "),
        ("torch.save", Mock(side_effect=MemoryError()), 3, "out of memory"),
    ],
    ids=["an image changed", "disk full", "no memory"],
)
def test_what_a_user_can_mend_in_the_middle_of_a_run_is_exit_2(
    place: str,
    problem: Callable[..., object],
    code: int,
    said: str,
    toy_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, problem)
    monkeypatch.setattr("pipeline.data.dataset.image_store.VerifiedImages.has", lambda *_: False)
    assert main([*arguments(toy_root, tmp_path), "--quiet"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_named_cluster_is_used_for_one_worker_too(
    toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert main(arguments(toy_root, tmp_path)) == 2
    assert "no Ray cluster at RAY_ADDRESS=127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--micro-batch-size", "--checkpoint-every-steps", "--checkpoint-every-epochs"])
def test_a_size_of_nothing_is_refused(
    option: str, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    try:
        code: Any = main([*arguments(toy_root, tmp_path), option, "0"])
    except SystemExit as ended:  # of the parser, which checks some of them
        code = ended.code
    assert code == 2
    assert re.search("must be 1 or more|0 is not a number above 0", capsys.readouterr().err)


def test_a_damaged_record_does_not_hide_the_others(trained: Path, capsys: pytest.CaptureFixture) -> None:
    broken = trained / "records" / "broken-record.parquet"
    broken.write_bytes(b"no parquet")
    try:
        assert main(["runs", "--runs", str(trained)]) == 0
    finally:
        broken.unlink()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("broken-record") and "damaged" in line and "cannot be read" in line for line in lines)
    assert any("toyplus_unc/val oIoU" in line for line in lines)


def test_runs_lists_states_and_scores(trained: Path, capsys: pytest.CaptureFixture) -> None:
    write_json(trained / "state" / "broken" / "failure.json", {"cause": "out of \x1b[31mmemory with 14 samples"})
    reading = Progress(run_id="going", phase="training", epoch=3, epochs=10, step=25, steps=100)
    for name in ("going", "gone"):
        ProgressFile(trained / "state" / name).write(reading)
        write_json(trained / "state" / name / "driver.json", note(os.getpid() if name == "going" else dead_process()))
    ProgressFile(trained / "state" / "without").write(replace(reading, phase="done"))
    elsewhere = {**note(1), "host": "another host"}
    for name in ("elsewhere", "silent"):
        ProgressFile(trained / "state" / name).write(reading)
        write_json(trained / "state" / name / "driver.json", elsewhere)
    os.utime(trained / "state" / "silent" / "driver.json", (0, 0))
    write_json(trained / "state" / "waiting" / "driver.json", note(os.getpid()))
    assert main(["runs", "--runs", str(trained)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    done = next(line for name, line in lines.items() if name.startswith("tiny-"))
    assert "done" in done
    assert "toyplus_unc/val oIoU" in done
    assert r"failed    out of \x1b[31mmemory with 14 samples" in lines["broken"]
    assert "running   starting" in lines["waiting"]
    assert "interrupted training, epoch 3/10, 24 %" in lines["silent"]
    assert "running   training, epoch 3/10, 24 %" in lines["going"]
    assert "interrupted training, epoch 3/10, 24 %" in lines["gone"]
    assert "running   training" in lines["elsewhere"]
    assert lines["without"].split(maxsplit=1)[1] == "not begun", "a run that is done has a record"


def note(process: int) -> dict[str, object]:
    return {"host": socket.gethostname(), "process": process, "since": time.time()}


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_disk_that_is_full_from_the_start_is_one_line(
    toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(locks, "write_heartbeat", full)
        assert main(arguments(toy_root, tmp_path)) == 2
    said = capsys.readouterr().err
    assert "cannot be written: No space left on device. Free some space" in said
    assert len(said.splitlines()) == 1
    (state,) = (tmp_path / "state").iterdir()
    with driver_lock(state):  # nobody holds it
        assert (state / "driver.json").exists()
