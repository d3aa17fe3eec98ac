"""With `train.draws=sample` a run is the same optimization for any number of workers, with drop path."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.distributed.process_group import Worker
from pipeline.job import Job, resolve_job
from pipeline.records import history_path
from pipeline.run import run_job
from tests.integration import workers

STEPS_PER_EPOCH = 2
CLOSE = 1e-5
CLOSE_IN_DOUBLE = 1e-12
PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}


def job_of(
    run: RunConfig,
    execution: ExecutionConfig,
    folder: Path,
    world_size: int,
    draws: str = "sample",
    batch_norm_samples: int | None = None,
    **options: Any,
) -> Job:
    encoder = replace(run.model.encoder, drop_path=0.5)
    train = replace(run.train, global_batch_size=12, epochs=25, draws=draws, batch_norm_samples=batch_norm_samples)
    run = replace(
        run, model=replace(run.model, encoder=encoder), train=train, optim=replace(run.optim, learning_rate=1e-4)
    )
    execution = replace(execution, workers=world_size, min_workers=1, runs_root=str(folder), **options)
    return resolve_job(run, execution, cells=("test/draws",), provenance=PROVENANCE)


def losses(job: Job, world_size: int) -> list[float]:
    """Train to the end; the mean loss of each epoch."""
    assert workers.finish(workers.start(job, world_size)) == [0] * world_size
    history = pd.read_parquet(history_path(job.runs_root, job.run_id))
    assert int(history["step"].iloc[-1]) == 25 * STEPS_PER_EPOCH
    return [float(loss) for loss in history["loss"]]


def in_double(worker: Worker, job: Job) -> None:
    """Run a job with weights, activations and gradients of 64 bits, where rounding cannot grow to a difference."""
    convolve = nn.Conv2d.forward

    def wider(tensor: Tensor) -> Tensor:
        return tensor.to(torch.float32) if tensor.dtype == torch.bool else tensor.double()

    torch.set_default_dtype(torch.float64)  # this process ends with the run
    with (
        patch.object(Tensor, "float", wider),
        patch.object(nn.Conv2d, "forward", lambda layer, images: convolve(layer, images.double())),
        patch.object(torch.backends.mkldnn, "is_available", return_value=False),  # the peak's product has 32 bits
    ):
        run_job(job, worker)


def losses_in_double(job: Job, world_size: int) -> list[float]:
    job.state_folder.mkdir(parents=True)
    workers.call(world_size, in_double, job.state_folder, job)
    return [float(loss) for loss in pd.read_parquet(history_path(job.runs_root, job.run_id))["loss"]]


@pytest.mark.slow
def test_fifty_steps_are_the_same_for_1_2_3_and_4_workers(
    micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path
) -> None:
    """In 64 bits, so that what is left is the optimization: a wrong draw or weight would be far above the limit.

    In 32 bits the rounding of another summation can turn a ReLU, after which two runs part: 1.3e-5 on one CPU.
    """
    alone = losses_in_double(job_of(micro_run, execution, tmp_path / "1", 1), 1)
    for world_size in (2, 3, 4):
        job = job_of(micro_run, execution, tmp_path / str(world_size), world_size)
        assert losses_in_double(job, world_size) == pytest.approx(alone, rel=CLOSE_IN_DOUBLE), f"{world_size} workers"
    by_rank = [losses_in_double(job_of(micro_run, execution, tmp_path / f"r{n}", n, "rank"), n) for n in (1, 2)]
    assert by_rank[0] != pytest.approx(by_rank[1], rel=CLOSE), "the test does not see other draws"


@pytest.mark.slow
def test_fifty_steps_are_the_same_for_other_micro_batches(
    micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path
) -> None:
    """With statistics over groups of one sample, 1 to 4 workers in forwards of 12 down to 1."""

    def of(world_size: int, forward: int, group: int | None = 1) -> list[float]:
        folder, options = tmp_path / f"{world_size}-{forward}-{group}", {"micro_batch_size": forward}
        job = job_of(micro_run, execution, folder, world_size, batch_norm_samples=group, **options)
        return losses(job, world_size)

    alone = of(1, 12)
    for world_size, forward in ((1, 4), (2, 1), (2, 6), (3, 2), (4, 3)):
        assert of(world_size, forward) == pytest.approx(alone, rel=CLOSE), f"{world_size} workers, {forward} a forward"
    assert of(1, 4, None) != pytest.approx(of(1, 12, None), rel=CLOSE), "the test does not see other statistics"


def kill_after(step: int, job: Job, world_size: int) -> None:
    """Train until a checkpoint of this step or a later one is there, and kill all workers."""
    started = workers.start(job, world_size)
    deadline = time.monotonic() + 120
    while newest_step(job) < step:
        assert started[0].is_alive(), "the run ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert workers.kill(started), "the run ended before it was killed"


def newest_step(job: Job) -> int:
    """Step of the newest checkpoint that has its manifest; 0 without one."""
    names = [re.fullmatch(r"checkpoint-\d+-(\d+)", path.stem) for path in job.state_folder.glob("checkpoint-*.json")]
    return max((int(name[1]) for name in names if name is not None), default=0)


@pytest.mark.slow
def test_a_run_whose_workers_change_is_the_same(
    micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path
) -> None:
    """2 workers, then 3 after a kill, then 1 after another; checkpoints are within epochs too."""
    quiet = losses(job_of(micro_run, execution, tmp_path / "quiet", 1), 1)
    folder, saving = tmp_path / "resized", {"checkpoint_every_steps": 5}
    kill_after(5, job_of(micro_run, execution, folder, 2, **saving), 2)
    kill_after(25, job_of(micro_run, execution, folder, 3, **saving), 3)
    last = job_of(micro_run, execution, folder, 1, **saving)
    resized = losses(last, 1)
    history = pd.read_parquet(history_path(last.runs_root, last.run_id))
    assert set(history["world_size"]) == {1, 2, 3}, "all three sizes took part"
    assert resized == pytest.approx(quiet, rel=CLOSE)
