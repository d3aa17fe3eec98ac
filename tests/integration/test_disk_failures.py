"""A disk that is full, read-only or damages a file: named in one line, and the checkpoint before is still there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.failures import RunError, describe_failure
from tests.full_disk import no_large_files
from tests.integration.test_failures import job_of, newest, run, train_to_first_epoch


def test_a_disk_that_fills_up_stops_the_run_and_keeps_the_checkpoint_before(
    micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(micro_run, replace(execution, checkpoint_every_steps=4))
    train_to_first_epoch(job)
    with no_large_files(), pytest.raises(RunError) as stopped:
        run(job)
    assert "File too large" in str(stopped.value)
    assert "[last good checkpoint: checkpoint-00001-000000004.pt]" in str(stopped.value)
    assert newest(job) == 1
    assert not list(job.state_folder.glob("*.partial"))


def test_a_read_only_disk_stops_the_run(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    job = job_of(micro_run, execution)
    train_to_first_epoch(job)
    error = OSError(30, "Read-only file system", "checkpoint")
    with patch("pipeline.files.uuid.uuid4", side_effect=error), pytest.raises(RunError) as stopped:
        run(job)
    assert "Read-only file system" in str(stopped.value)
    assert newest(job) == 1


@pytest.mark.parametrize("damage", ["truncated", "one byte"])
def test_a_damaged_checkpoint_is_logged_and_the_one_before_it_taken(
    damage: str, micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(micro_run, replace(execution, checkpoint_every_steps=2))
    train_to_first_epoch(job)
    whole = sorted(job.state_folder.glob("checkpoint-*.pt"))
    assert len(whole) == 2
    content = bytearray(whole[-1].read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    whole[-1].write_bytes(content)
    lines = run(job)
    assert any(f"skipped {whole[-1].name}: it is damaged" in line for line in lines)
    assert any("resumed after epoch 0" in line or "resumed after epoch 1" in line for line in lines)
    assert job.done
    history = pd.read_parquet(job.runs_root / "history" / f"{job.run_id}.parquet")
    assert history["epoch"].tolist() == [1, 2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("count", [4, 4_000_000])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_full_disk_is_named(count: int, is_zip: bool, micro_run: RunConfig, execution: ExecutionConfig) -> None:
    """torch.save reports the system's error for small files, and one of its archive writer for large ones."""
    with pytest.raises((OSError, RuntimeError)) as caught, Path("/dev/full").open("wb") as stream:
        torch.save({"weights": torch.zeros(count)}, stream, _use_new_zipfile_serialization=is_zip)
    line = describe_failure(caught.value, job_of(micro_run, execution))
    assert line.startswith("disk full: ")
    assert "free space there and run the same command again" in line
