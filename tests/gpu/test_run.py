"""A whole run on a GPU: record, evaluation, checkpoints to and from the CPU, data loader, out of memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.dataset.loader import collate
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.masks import decode_mask
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.evaluate import evaluate_split
from pipeline.job import Job, resolve_job
from pipeline.records import history_path, record_path
from pipeline.run import RunError, run_in_process
from pipeline.training import trainer
from pipeline.training.model_with_loss import unwrap
from sharedris.checkpoint import load_model

CPU = torch.device("cpu")
PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
FLIPPED = {"fp32": 1e-4, "bf16": 0.01, "fp16": 0.002}
"""Share of a split's pixels whose mask may differ from the CPU's in float32.

Of the micro model after 30 epochs, at the median of its probabilities: 0.0021 in bf16 and 0.0007 in fp16 on a CPU.
"""


def job_on(device: torch.device, run: RunConfig, execution: ExecutionConfig, **options: Any) -> Job:
    options = {"loader_workers": 0, **options}
    placed = replace(execution, device=device.type, **options)
    return resolve_job(run, placed, cells=("gpu/cell",), provenance=PROVENANCE)


def by_sample(run: RunConfig, **train: Any) -> RunConfig:
    """The run with random numbers that every device draws alike."""
    return replace(run, train=replace(run.train, draws="sample", **train))


def masks(rows: pd.DataFrame) -> np.ndarray:
    """All predicted pixels of a split at the images' sizes, in one row."""
    found = [
        decode_mask(row.mask_rle, height=row.height, width=row.width).ravel()  # type: ignore[arg-type]
        for row in rows.itertuples()
    ]
    return np.concatenate(found).astype(bool)


@pytest.mark.parametrize("loader_workers", [0, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_is_recorded_and_evaluates_as_on_the_cpu(
    device: torch.device, micro_run: RunConfig, execution: ExecutionConfig, precision: Any, loader_workers: int
) -> None:
    if loader_workers and precision != "bf16":
        pytest.skip("loader processes are the same in every precision")
    run = by_sample(micro_run, precision=precision, epochs=30 if device.type == "cuda" else 2)
    job = job_on(device, run, execution, loader_workers=loader_workers)
    run_in_process(job)
    record = pd.read_parquet(record_path(job.runs_root, job.run_id)).iloc[0]
    history = pd.read_parquet(history_path(job.runs_root, job.run_id))
    assert history["loss"].notna().all()
    assert record["peak_memory_mib"] > 0
    split = run.data.evaluate_splits[0]
    encoder = run.model.encoder
    dataset = ReferDataset(
        execution.prepared_root, split, image_size=encoder.image_size, text_tokens=encoder.text_tokens
    )

    batch = collate([dataset[index] for index in range(len(dataset))])
    with torch.inference_mode():
        model = load_model(job.model_folder).model
        middle = model(batch.image_BCHW, batch.token_ids_BT, batch.padding_BT).sigmoid().median()
    evaluation = replace(run.evaluation, threshold=float(middle))  # so that half of the pixels are in a mask

    def rows(place: torch.device, precision: Any) -> pd.DataFrame:
        model = load_model(job.model_folder, place).model
        return evaluate_split(model, dataset, evaluation=evaluation, precision=precision, worker=Worker(device=place))

    ours, reference = masks(rows(device, precision)), masks(rows(CPU, "fp32"))
    flipped = float((ours != reference).mean())
    print(f"{precision}: {flipped:.2e} of {len(ours)} pixels differ, {reference.mean():.0%} are in a mask")
    assert flipped <= FLIPPED[precision]


class StoppedError(Exception):
    """The run is stopped after a checkpoint."""


@pytest.mark.parametrize("first", ["the device", "the CPU"])
def test_a_checkpoint_goes_on_on_the_other_device(
    device: torch.device,
    micro_run: RunConfig,
    execution: ExecutionConfig,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    run = by_sample(micro_run, precision="fp32")
    devices = [device, CPU] if first == "the device" else [CPU, device]
    undisturbed = trainer.train(job_on(CPU, run, execution, runs_root=f"{execution.runs_root}-other"), Worker())
    expected = {name: tensor.clone() for name, tensor in unwrap(undisturbed.model).state_dict().items()}
    saves = trainer.save_checkpoint

    def save_and_stop(*args: Any) -> None:
        saves(*args)
        raise StoppedError

    monkeypatch.setattr(trainer, "save_checkpoint", save_and_stop)
    with pytest.raises(StoppedError):
        trainer.train(job_on(devices[0], run, execution), Worker(device=devices[0]))
    monkeypatch.setattr(trainer, "save_checkpoint", saves)
    state = trainer.train(job_on(devices[1], run, execution), Worker(device=devices[1]))
    assert state.epoch == run.train.epochs
    for name, tensor in unwrap(state.model).state_dict().items():
        assert tensor.device == devices[1]
        torch.testing.assert_close(
            tensor.cpu(), expected[name], rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_out_of_memory_names_the_remedy(
    device: torch.device, micro_run: RunConfig, execution: ExecutionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_on(device, micro_run, execution)
    if device.type == "cuda":  # a real one: the allocator may take next to nothing
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 2**21) / total), device)
    else:

        def no_memory(*args: Any, **options: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(trainer, "train_step", no_memory)
    try:
        with pytest.raises(RunError, match="out of memory with 6 samples a forward: set --micro-batch-size lower"):
            run_in_process(job)
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, device)
            torch.cuda.empty_cache()
