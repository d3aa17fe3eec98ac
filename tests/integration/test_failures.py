"""What breaks is named with its remedy, and the checkpoint before it is still there."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY, patch

import pandas as pd
import pytest
import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.dataset.loader import Batch
from pipeline.data.dataset.unreadable import unreadable_samples
from pipeline.distributed.process_group import Worker
from pipeline.failures import RunError, clear_failure, describe_failure, failure
from pipeline.job import Job, resolve_job
from pipeline.monitoring.console_log import own_handler
from pipeline.monitoring.progress import Progress, read_progress
from pipeline.records import record_path
from pipeline.run import run_job
from pipeline.training import checkpoints, model_with_loss, trainer
from pipeline.training.trainer import train
from sharedris.loss import LossTerms
from tests.integration import workers
from tests.integration.test_resume import PROVENANCE


def job_of(config: RunConfig, execution: ExecutionConfig, **train_options: Any) -> Job:
    config = replace(config, train=replace(config.train, **train_options))
    job = resolve_job(config, execution, provenance=PROVENANCE)
    job.state_folder.mkdir(parents=True, exist_ok=True)
    return job


def run(job: Job) -> list[str]:
    """Run a job in this process and return its log lines."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    clear_failure(job)
    with own_handler(handler, logging.INFO):
        run_job(job, Worker())
    return lines


def newest(job: Job) -> int:
    """Finished epochs of the newest whole checkpoint."""
    found = checkpoints.load_newest(job.state_folder, content_hash=job.content_hash)
    return 0 if found is None else int(found["epoch"])


def test_a_nan_in_the_second_epoch_names_step_samples_and_checkpoint(
    micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(micro_run, execution)
    with spoilt_images(from_batch=5), pytest.raises(RunError) as stopped:
        run(job)
    message = str(stopped.value)
    assert "loss is not finite at step 5" in message
    assert "toyplus_unc/train#" in message
    assert "[last good checkpoint: checkpoint-00001-000000004.pt]" in message
    assert failure(job) == message
    assert newest(job) == 1
    failed = read_progress(job.state_folder)
    assert failed is not None
    assert (failed.phase, failed.epoch, failed.message) == ("failed", 2, message)
    clear_failure(job)  # as the next command does first of all
    assert read_progress(job.state_folder) == replace(failed, phase="starting", message="", updated=ANY)
    run(job)  # with good data again it goes on
    assert job.done


def test_a_nan_may_be_skipped_and_is_counted(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    job = job_of(micro_run, execution, nonfinite_loss="skip")
    with spoilt_images(from_batch=5):
        run(job)
    history = pd.read_parquet(job.runs_root / "history" / f"{job.run_id}.parquet")
    assert history["skipped_steps"].tolist() == [0, 3]
    assert history["samples"].tolist() == [24, 6]
    assert history["loss"].notna().all()
    record = pd.read_parquet(record_path(job.runs_root, job.run_id))
    assert record["miou"].between(0, 1).all()


def test_an_epoch_without_a_step_has_no_loss(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    job = job_of(micro_run, execution, nonfinite_loss="skip")
    with spoilt_images(from_batch=4):
        run(job)
    history = pd.read_parquet(job.runs_root / "history" / f"{job.run_id}.parquet")
    assert history["skipped_steps"].tolist() == [0, 4]
    for name in ("loss", "bce", "dice", "gradient_norm"):
        assert history[name].isna().tolist() == [False, True], name
    assert pd.read_parquet(record_path(job.runs_root, job.run_id))["final_loss"].isna().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_that_is_not_finite_is_not_resumed(
    value: float, micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(micro_run, execution)
    with spoilt_images(from_batch=5), pytest.raises(RunError):
        run(job)
    clear_failure(job)
    saved = checkpoints.load_newest(job.state_folder, content_hash=job.content_hash)
    assert saved is not None
    name = next(iter(saved["model"]))
    saved["model"][name].view(-1)[0] = value
    path = checkpoints.save(job.state_folder, saved, epoch=saved["epoch"], step=saved["step"])
    with pytest.raises(RunError, match=f"{path.name} has NaN or infinite weights in {name}. Remove it to resume"):
        run(job)


def test_a_loss_that_is_nan_with_a_finite_gradient_stops_all_workers(
    micro_run: RunConfig, two_workers: ExecutionConfig
) -> None:
    job = job_of(micro_run, two_workers)
    assert workers.call(2, train_with_a_loss_that_is_nan, job.state_folder, job) == ["RunError"] * 2
    message = str(failure(job))
    assert "loss is not finite at step 5" in message
    assert message.count("toyplus_unc/train#") == 3, "the samples of the one worker are named"


def train_with_a_loss_that_is_nan(worker: Worker, job: Job) -> str:
    """Run the job; at step 5 the second worker's loss is NaN, as that of an infinite logit, and its gradient is not."""
    steps = 0

    def spoilt(*arguments: Any) -> LossTerms:
        nonlocal steps
        steps += 1
        loss = real(*arguments)
        return loss._replace(total=loss.total + torch.nan) if steps == 6 and worker.rank == 1 else loss

    real = model_with_loss.segmentation_loss
    with patch.object(model_with_loss, "segmentation_loss", spoilt):
        try:
            run_job(job, worker)
        except Exception as error:
            return type(error).__name__
    return "no error"


def spoilt_images(from_batch: int) -> Any:
    """Let every training batch from this one on hold a NaN."""
    count = 0
    real = trainer.prefetch

    def spoilt(batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, Batch]]:
        nonlocal count
        for host, batch in real(batches, device):
            count += 1
            if count > from_batch:
                batch.image_BCHW[0, 0, 0, 0] = float("nan")
            yield host, batch

    return patch.object(trainer, "prefetch", spoilt)


@pytest.fixture
def own_toy(toy_root: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the toy set that a test may damage: (prepared root, folder of its images)."""
    import json

    shutil.copytree(toy_root.parent, tmp_path / "toy")
    manifest = tmp_path / "toy" / "prepared" / "toyplus_unc" / "dataset.json"
    values = json.loads(manifest.read_text())
    images = tmp_path / "toy" / Path(values["image_root"]).relative_to(toy_root.parent)
    manifest.write_text(json.dumps({**values, "image_root": str(images)}))
    return manifest.parent.parent, images


def damage_a_training_image(prepared: Path, images: Path) -> str:
    """Cut an image of the training split in half and return its name."""
    name = str(pd.read_parquet(prepared / "toyplus_unc" / "train.parquet")["file_name"].iloc[0])
    content = (images / name).read_bytes()
    (images / name).write_bytes(content[: len(content) // 2])
    return name


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_a_corrupt_image_is_named_and_fatal(
    loader_workers: int, micro_run: RunConfig, execution: ExecutionConfig, own_toy: tuple[Path, Path]
) -> None:
    name = damage_a_training_image(*own_toy)
    execution = replace(execution, prepared_root=str(own_toy[0]), loader_workers=loader_workers)
    job = job_of(micro_run, execution, max_samples_per_epoch=None)
    with pytest.raises(RunError) as stopped:
        run(job)
    assert name in str(stopped.value)
    assert "Traceback" not in str(stopped.value)


@pytest.mark.slow
def test_a_corrupt_image_may_be_replaced_and_is_counted(
    micro_run: RunConfig, execution: ExecutionConfig, own_toy: tuple[Path, Path]
) -> None:
    name = damage_a_training_image(*own_toy)
    rows = pd.read_parquet(own_toy[0] / "toyplus_unc" / "train.parquet")
    expected = int(rows[rows["file_name"] == name]["expressions"].map(len).sum())
    execution = replace(execution, prepared_root=str(own_toy[0]))
    job = job_of(micro_run, execution, max_samples_per_epoch=None, damaged_samples="replace", epochs=4)
    said = run(job)
    record = pd.read_parquet(record_path(job.runs_root, job.run_id))
    assert 1 <= record["skipped"].iloc[0] <= expected
    assert any(name in line for line in said)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
    ids=["GPU", "torch on the CPU", "Python"],
)
def test_out_of_memory_says_the_batch_and_what_to_change(
    error: BaseException, micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(micro_run, replace(execution, micro_batch_size=3))
    with patch("pipeline.training.trainer.train_step", side_effect=error), pytest.raises(RunError) as stopped:
        run(job)
    assert "out of memory with 3 samples a forward" in str(stopped.value)
    assert "--micro-batch-size" in str(stopped.value)
    assert "--activation-checkpointing" in str(stopped.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "set --loader-workers lower"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "ended by a signal"),  # in Ray's thread
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is"), "enlarge /dev/shm"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "with 6 samples"),
        (torch.distributed.DistBackendError("NCCL error: ncclUnhandledCudaError: out of memory"), "with 6 samples"),
    ],
    ids=["loader killed", "loader ended", "loader without shared memory", "cuBLAS", "NCCL"],
)
def test_memory_that_runs_out_elsewhere_is_told_as_such(
    error: Exception, said: str, micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    assert said in describe_failure(error, job_of(micro_run, execution))


def test_memory_that_runs_out_in_evaluation_is_not_blamed_on_the_batch(
    micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(micro_run, execution)
    job.progress_file.write(Progress(run_id=job.run_id, phase="evaluating"))
    assert "one sample a forward" in describe_failure(MemoryError(), job)


def test_too_few_samples_for_one_step_train_nothing(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    # Known when the data are opened, as where combined sets leave out what another one holds out.
    job = job_of(micro_run, execution)
    large = replace(job.config, train=replace(job.config.train, global_batch_size=4800, max_samples_per_epoch=None))
    with pytest.raises(RunError, match="do not fill one global batch of 4800"):
        run(replace(job, config=large))
    assert not job.done


def test_a_torn_note_of_a_damaged_sample_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "damaged.jsonl").write_text('{"index": 3, "message": "broken"}\n{"index": 4, "mess')
    assert unreadable_samples(tmp_path) == {3: "broken"}


def test_a_real_allocation_that_fails_is_told_as_such(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    job = job_of(micro_run, execution)
    with (
        patch("pipeline.training.trainer.train_step", side_effect=lambda *_, **__: torch.empty(1 << 48)),
        pytest.raises(RunError, match="out of memory with 6 samples"),
    ):
        run(job)


def train_to_first_epoch(job: Job) -> None:
    """Leave the checkpoint of the first epoch."""
    from pipeline.training import state

    save = checkpoints.save

    def save_once(*args: Any, **kwargs: Any) -> Any:
        if kwargs["epoch"] == 2:
            raise KeyboardInterrupt
        return save(*args, **kwargs)

    with patch.object(state.checkpoints, "save", save_once), pytest.raises(KeyboardInterrupt):
        train(job, Worker())


def test_fp16_goes_on_with_its_loss_scale(micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path) -> None:
    interrupted = job_of(micro_run, replace(execution, runs_root=str(tmp_path / "interrupted")), precision="fp16")
    whole = job_of(micro_run, replace(execution, runs_root=str(tmp_path / "whole")), precision="fp16")
    scale, scales = torch.amp.GradScaler.scale, []

    def overflow_twice(scaler: torch.amp.GradScaler, loss: torch.Tensor) -> torch.Tensor:
        if not loss.requires_grad:  # a one, from which the step reads the scale
            return scale(scaler, loss)
        scales.append(scaler.get_scale())
        return scale(scaler, loss) * (float("inf") if len(scales) in (2, 3) else 1.0)

    with patch.object(torch.amp.GradScaler, "scale", overflow_twice):
        train_to_first_epoch(interrupted)
        run(interrupted)
        resumed = scales[:]
        scales.clear()
        run(whole)
    assert scales == resumed[:4] + resumed[8:], "the second epoch's four steps were taken twice"
    assert scales[-1] == scales[0] / 4, "the scale of the second epoch is not the one that training starts with"
    assert workers.outcome(interrupted) == workers.outcome(whole)
