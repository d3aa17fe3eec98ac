"""Checkpoints are written while training goes on: errors come back, and what is written is what was given."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.distributed.process_group import Worker
from pipeline.files import read_json
from pipeline.job import resolve_job
from pipeline.training import checkpoints, trainer
from pipeline.training.background_writer import BackgroundWriter
from pipeline.training.model_with_loss import unwrap


def fail() -> None:
    raise OSError(28, "No space left on device")


def test_an_error_is_raised_once_where_the_next_write_is_given_or_at_the_end() -> None:
    writer, done = BackgroundWriter(), list[int]()
    writer.give(fail)
    with pytest.raises(OSError, match="No space left"):
        writer.give(lambda: done.append(1))
    assert done == []
    writer.give(lambda: done.append(2))
    writer.finish()
    writer.finish()
    assert done == [2]
    writer.give(fail)
    with pytest.raises(OSError, match="No space left"):
        writer.finish()


def test_one_write_at_a_time() -> None:
    writer, at_once, most = BackgroundWriter(), 0, 0

    def write() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        threading.Event().wait(0.01)
        at_once -= 1

    for _ in range(5):
        writer.give(write)
    writer.finish()
    assert most == 1


def test_a_step_does_not_wait_and_the_file_has_the_state_of_its_own_step(
    micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    """The write of each checkpoint starts only when training has gone on by one step."""
    train = replace(micro_run.train, epochs=1)
    job = resolve_job(replace(micro_run, train=train), replace(execution, checkpoint_every_steps=1))
    plain = resolve_job(replace(micro_run, train=train), replace(job.execution, runs_root=execution.runs_root + "-2"))
    save, step_once, begun = checkpoints.save, trainer.train_step, [threading.Event() for _ in range(5)]
    begun[4].set()  # after the last step nothing follows
    saved: dict[int, Any] = {}

    def save_late(folder: Path, state: dict[str, Any], *, epoch: int, step: int) -> Path:
        assert begun[step].wait(20), "the training thread waited for the disk"
        path = save(folder, state, epoch=epoch, step=step)
        saved[step] = checkpoints.load(path)["model"]
        return path

    def step_and_tell(*arguments: Any, **options: Any) -> Any:
        begun[options["step"]].set()
        return step_once(*arguments, **options)

    with patch.object(checkpoints, "save", save_late), patch.object(trainer, "train_step", step_and_tell):
        state = trainer.train(job, Worker())
    at_once: dict[int, Any] = {}
    with patch.object(trainer, "save_checkpoint", lambda job, worker, state: at_once.update({state.step: copy(state)})):
        trainer.train(plain, Worker())
    assert list(saved) == list(at_once) == [1, 2, 3, 4]
    for step, weights in at_once.items():
        assert all(torch.equal(saved[step][name], value) for name, value in weights.items()), step
    assert state.step == 4


def copy(state: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in unwrap(state.model).state_dict().items()}


def test_the_digest_of_a_manifest_is_that_of_the_file(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, {"content_hash": "x", "t": torch.arange(100_000)}, epoch=1, step=2)
    assert read_json(path.with_suffix(".json"))["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
