"""With `train.draws=sample` a run is the same optimization for any number of workers, with drop path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.records import history_path
from tests.integration import workers

STEPS_PER_EPOCH = 2
CLOSE = 1e-5
PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}


def job_of(run: RunConfig, execution: ExecutionConfig, folder: Path, world_size: int, draws: str = "sample") -> Job:
    encoder = replace(run.model.encoder, drop_path=0.5)
    train = replace(run.train, global_batch_size=12, epochs=25, draws=draws)
    run = replace(
        run, model=replace(run.model, encoder=encoder), train=train, optim=replace(run.optim, learning_rate=1e-4)
    )
    execution = replace(execution, workers=world_size, min_workers=1, runs_root=str(folder))
    return resolve_job(run, execution, cells=("test/draws",), provenance=PROVENANCE)


def losses(job: Job, world_size: int) -> list[float]:
    assert workers.finish(workers.start(job, world_size)) == [0] * world_size
    history = pd.read_parquet(history_path(job.runs_root, job.run_id))
    assert int(history["step"].iloc[-1]) == 25 * STEPS_PER_EPOCH
    return [float(loss) for loss in history["loss"]]


@pytest.mark.slow
def test_fifty_steps_are_the_same_for_1_2_3_and_4_workers(
    micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path
) -> None:
    alone = losses(job_of(micro_run, execution, tmp_path / "1", 1), 1)
    for world_size in (2, 3, 4):
        together = losses(job_of(micro_run, execution, tmp_path / str(world_size), world_size), world_size)
        assert together == pytest.approx(alone, rel=CLOSE), f"{world_size} workers"
    by_rank = [losses(job_of(micro_run, execution, tmp_path / f"r{n}", n, "rank"), n) for n in (1, 2)]
    assert by_rank[0] != pytest.approx(by_rank[1], rel=CLOSE), "the test does not see other draws"
