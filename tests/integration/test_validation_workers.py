"""Validation and splits that are added later, on two workers that are killed and started again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.recorded_job import recorded_job
from pipeline.records import record_path, samples_path
from pipeline.validation_rows import validation_path
from tests.integration import workers

TOY = "toyplus_unc"
PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
pytestmark = pytest.mark.slow


def execution_of(toy_root: Path, runs: Path, **options: Any) -> ExecutionConfig:
    return ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(runs), workers=2, **options)


def run(job: Job) -> None:
    codes = workers.finish(workers.start(job, 2))
    assert codes == [0, 0], (job.state_folder / "stderr-0").read_text()


def test_two_workers_validate_without_a_trace_and_are_killed_in_between(
    micro_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    encoder = replace(micro_run.model.encoder, drop_path=0.2)
    train = replace(micro_run.train, checkpoint_selection=f"best:{TOY}/val/oiou")
    config = replace(micro_run, model=replace(micro_run.model, encoder=encoder), train=train)
    plain = resolve_job(config, execution_of(toy_root, tmp_path / "plain"), provenance=PROVENANCE)
    run(plain)
    often = execution_of(
        toy_root, tmp_path / "often", validate_every_steps=1, validate_samples=5, checkpoint_every_steps=2
    )
    job = resolve_job(config, often, provenance=PROVENANCE)
    for event in (9, 14):  # the leader dies in the middle of writing
        processes = workers.start(job, 2, kill_at_file_event=event)
        processes[0].join(120)
        workers.kill(processes)
        assert not job.done
    run(job)
    expected, got = workers.outcome(plain), workers.outcome(job)
    for part in ("weights", "history", "samples", "record"):
        assert got[part] == expected[part], part
    rows = pd.read_parquet(validation_path(job.runs_root, job.run_id))
    of_sample = rows[(rows["protocol"] == "original") & (rows["samples"] == 5)]
    assert of_sample["step"].tolist() == [1, 2, 3, 5, 6, 7], "steps 4 and 8 score the whole split"
    assert not rows.duplicated(["split", "step", "protocol"]).any()


def test_two_workers_add_a_split_with_the_bits_of_one(micro_run: RunConfig, toy_root: Path, tmp_path: Path) -> None:
    runs, split = tmp_path / "runs", f"{TOY}/testA"
    at_once = replace(micro_run, data=replace(micro_run.data, evaluate_splits=(f"{TOY}/val", split)))
    expected = resolve_job(at_once, execution_of(toy_root, tmp_path / "at once"), provenance=PROVENANCE)
    run(expected)
    first = resolve_job(micro_run, execution_of(toy_root, runs), provenance=PROVENANCE)
    run(first)
    job = recorded_job(first.run_id, [split], execution_of(toy_root, runs), PROVENANCE)
    processes = workers.start(job, 2, kill_at_file_event=2)  # the samples are written, the record is not
    processes[0].join(120)
    workers.kill(processes)
    assert job.missing_splits == (split,)
    run(job)
    assert job.done
    assert workers.outcome(job)["samples"] == workers.outcome(expected)["samples"]
    assert samples_path(runs, job.run_id, split).exists()
    assert pd.read_parquet(record_path(runs, job.run_id))["split"].nunique() == 2
