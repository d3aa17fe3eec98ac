"""Peak memory of a training step: traced, against what torch allocates, and what fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.cost import memory_plan
from pipeline.cost.memory_plan import automatic_micro_batch, largest_micro_batch, worker_memory
from pipeline.cost.step_timing import StepShape, make_step, time_step
from pipeline.cost.step_trace import trace_forward, trace_step
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import Precision
from sharedris.errors import InputError
from sharedris.scales import base, tiny
from tests.cpu_memory import peak_bytes, skip_if_emulated


def two_layers() -> ComparedModelConfig:
    """Return the tiny model with two layers."""
    model = tiny()
    encoder, fpn = replace(model.encoder, layers=2), replace(model.fpn, stages=(1, 2))
    return replace(model, encoder=encoder, fpn=fpn)


@pytest.mark.parametrize(("precision", "checkpointing"), [("fp32", False), ("fp32", True), ("bf16", False)])
def test_the_trace_holds_the_bytes_that_torch_allocates(precision: Precision, checkpointing: bool) -> None:
    skip_if_emulated(precision)
    shape = StepShape(model=two_layers(), micro_batch_size=8, precision=precision, checkpointing=checkpointing)
    step = make_step(shape, torch.device("cpu"))
    step()  # makes the optimizer's state, so that it is no part of the growth
    peak = peak_bytes(step)
    trace = trace_step(shape.model, micro_batch_size=8, precision=precision, checkpointing=checkpointing, device="cpu")
    inputs = 8 * 64 * 64 * (3 * 4 + 1)  # are there before the step
    assert trace.activations + trace.gradients - inputs == pytest.approx(peak, rel=0.02)


def test_checkpointing_and_lower_precision_take_less(micro_run: RunConfig) -> None:
    def peak(precision: Precision, checkpointing: bool) -> int:
        return trace_step(
            micro_run.model, micro_batch_size=8, precision=precision, checkpointing=checkpointing
        ).activations

    assert peak("bf16", True) < peak("bf16", False) < peak("fp32", False)
    assert peak("fp32", True) < peak("fp32", False)
    parameters = sum(each.numel() for each in build_model(micro_run.model).parameters())
    assert trace_step(micro_run.model, micro_batch_size=8, precision="fp32").weights >= 4 * parameters


def test_a_later_forward_finds_its_weights_cast(micro_run: RunConfig) -> None:
    first, later = (trace_forward(micro_run.model, keeps_casts=kept) for kept in (False, True))
    casts = [sum(kernel.name == "_to_copy" for kernel in kernels) for kernels in (first, later)]
    assert len(first) - len(later) == casts[0] - casts[1] > casts[1]


def test_the_batch_that_fits_is_the_largest_divisor(micro_run: RunConfig) -> None:
    run = replace(micro_run, train=replace(micro_run.train, global_batch_size=48))
    execution = ExecutionConfig(device="cpu")

    def peak(size: int) -> int:
        return worker_memory(run, execution, micro_batch_size=size).peak

    assert largest_micro_batch(run, execution, peak(12)) == 12
    assert largest_micro_batch(run, execution, peak(12) - 1) == 8, "the next divisor of 48"
    assert largest_micro_batch(run, execution, peak(1) - 1) == 0


def test_auto_is_refused_where_no_gpu_is_known(micro_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="needs the memory of a GPU, and this machine has none"):
        automatic_micro_batch(micro_run, ExecutionConfig(device="cuda"))
    assert automatic_micro_batch(micro_run, ExecutionConfig()) == micro_run.train.global_batch_size
    monkeypatch.setattr(memory_plan, "USABLE", 1e-9)
    with pytest.raises(InputError, match="not even one sample"):
        automatic_micro_batch(micro_run, ExecutionConfig())


def test_the_plan_prints_what_fits(capsys: pytest.CaptureFixture, toy_root: Path, tmp_path: Path) -> None:
    arguments = ["--prepared", str(toy_root), "--runs", f"{tmp_path}/runs", "--micro-batch-size", "auto"]
    arguments += ["--model.fpn.stages", "1", "2", "--model.encoder.layers=2"]
    assert main(["train", "--plan", "--memory", "--device", "cpu", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "--micro-batch-size auto: 16 samples a forward" in printed
    assert "a worker on a CPU" in printed
    assert " of 16 samples (roofline of this CPU, " in printed
    assert "MFU  " in printed
    assert [line.split("|")[1:3] for line in printed.splitlines() if line.startswith(("| bf16", "| fp32"))] == [
        [name, answer] for name in (" bf16, fp16 ", " fp32 ") for answer in (" no ", " yes ")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "most"),
    [
        (StepShape(model=tiny(), micro_batch_size=16, precision="fp32"), 0.1),
        (StepShape(model=tiny(), micro_batch_size=64, precision="fp32", checkpointing=True), 0.1),
        (StepShape(model=base(), micro_batch_size=2, precision="fp32"), 0.1),
        (StepShape(model=base(), micro_batch_size=2, precision="fp32", checkpointing=True), 0.1),
        (StepShape(model=base(), micro_batch_size=2, precision="bf16"), 0.1),
    ],
    ids=["tiny", "tiny, checkpointing", "base", "base, checkpointing", "base, bf16"],
)
def test_the_peak_of_a_process_is_as_planned(shape: StepShape, most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_if_emulated(shape.precision)  # it would take a quarter of an hour there as well
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")  # else glibc keeps what torch has released
    measured = time_step(shape, threads=1).peak_memory_mib
    traced = trace_step(
        shape.model,
        micro_batch_size=shape.micro_batch_size,
        precision=shape.precision,
        checkpointing=shape.checkpointing,
        device="cpu",
    )
    print(f"{shape.model.scale}, {shape.precision}: measured {measured:.0f} MiB, planned {traced.peak / 2**20:.0f} MiB")
    assert traced.peak / 2**20 == pytest.approx(measured, rel=most)
