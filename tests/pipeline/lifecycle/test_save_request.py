"""A checkpoint that is asked for is written within ten steps, and changes nothing else."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.distributed.process_group import Worker
from pipeline.job import resolve_job
from pipeline.lifecycle.heartbeat import update_heartbeat
from pipeline.lifecycle.locks import driver_lock
from pipeline.lifecycle.save_request import request_checkpoint, signal_saves, take_request
from pipeline.training import trainer


def test_a_signal_asks_and_the_request_is_taken_once(tmp_path: Path) -> None:
    with signal_saves([tmp_path, tmp_path / "not started"]):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert take_request(tmp_path)
    assert not take_request(tmp_path)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_request_is_answered_at_a_tenth_step(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    train = replace(micro_run.train, epochs=1, global_batch_size=2, max_samples_per_epoch=24)
    job = resolve_job(replace(micro_run, train=train), replace(execution, checkpoint_every_epochs=1))
    job.state_folder.mkdir(parents=True)
    request_checkpoint(job.state_folder)
    with patch.object(trainer, "save_checkpoint", side_effect=lambda job, worker, state: saved.append(state.step)):
        saved: list[int] = []
        last = trainer.train(job, Worker()).step
    assert last > 10
    assert saved == [10, last]


def test_running_runs_are_asked_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--runs", str(tmp_path), "save"]) == 2
    assert "no run is running below" in capsys.readouterr().err
    for name in ("ended", "running"):
        (tmp_path / "state" / name).mkdir(parents=True)
    with driver_lock(tmp_path / "state/running"):
        update_heartbeat(tmp_path / "state/running")
        assert main(["runs", "--runs", str(tmp_path), "save"]) == 0
        assert "asked running for a checkpoint" in capsys.readouterr().out
        assert take_request(tmp_path / "state/running")
    assert not take_request(tmp_path / "state/ended")
