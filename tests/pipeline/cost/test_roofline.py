"""A step's seconds by the roofline: work and bytes by hand, public speeds of three GPUs, and what a plan prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.cost import cpu_rates, planned_time
from pipeline.cost.cpu_rates import CpuRates, measure_cpu_rates
from pipeline.cost.devices import find_device, named_device
from pipeline.cost.flops import measure_cost
from pipeline.cost.planned_time import plan_step, planned_device
from pipeline.cost.roofline import (
    GPU_OVERHEAD_SECONDS,
    MEMORY_SHARE,
    PRODUCT_SHARE,
    GpuRates,
    gpu_rates,
    optimizer_kernels,
    seconds_of,
    step_seconds,
)
from pipeline.cost.step_trace import Kernel, StepTrace, trace_forward, trace_module, trace_step
from sharedris.errors import InputError
from sharedris.scales import tiny
from tests.pipeline.cost.timm_tables import Row, fitted_share, read_rows, trace_vit

HALF, FULL = 2, 4
"""Bytes of a number."""


def a100() -> GpuRates:
    device = find_device("NVIDIA A100-SXM4-80GB")
    assert device is not None
    return gpu_rates(device)


def test_a_linear_layer_by_hand() -> None:
    rows, inputs, outputs = 64, 32, 16
    with torch.device("meta"):
        model, tokens = nn.Sequential(nn.Linear(inputs, outputs)), torch.empty(rows, inputs)
    kernels = trace_module(model, (tokens,))
    assert [kernel.name for kernel in kernels] == ["_to_copy"] * 3 + ["addmm"]
    assert kernels[-1].flops == 2 * rows * inputs * outputs
    assert kernels[-1].bytes_moved == HALF * (rows * inputs + inputs * outputs + outputs + rows * outputs)
    casts = rows * inputs + inputs * outputs + outputs
    assert sum(kernel.bytes_moved for kernel in kernels[:-1]) == (FULL + HALF) * casts


def test_a_kernel_takes_its_products_or_its_bytes() -> None:
    rates = a100()
    product = Kernel(name="mm", flops=10**12, bytes_moved=10**6, dtype=torch.bfloat16)
    assert rates.seconds(product) - GPU_OVERHEAD_SECONDS == pytest.approx(1 / (rates.product_share * 312))
    assert rates.seconds(replace(product, dtype=torch.float32)) == pytest.approx(1 / (rates.product_share * 19.5), 1e-3)
    tf32 = replace(rates, tf32=True)
    assert tf32.seconds(replace(product, dtype=torch.float32)) == pytest.approx(1 / (rates.product_share * 156), 1e-2)
    added = Kernel(name="add", flops=0, bytes_moved=2 * 10**9, dtype=torch.float32)
    assert rates.seconds(added) - GPU_OVERHEAD_SECONDS == pytest.approx(2 / (MEMORY_SHARE * 2039))
    assert seconds_of([added, product, added], rates) == pytest.approx(
        2 * rates.seconds(added) + rates.seconds(product)
    )


def test_a_norm_copies_tokens_that_do_not_lie_in_rows() -> None:
    with torch.device("meta"):
        norm, tokens = nn.Sequential(nn.LayerNorm(8)), torch.empty(4, 8, 16)
    in_rows, transposed = (trace_module(norm, (each,)) for each in (tokens.new_empty(4, 16, 8), tokens.transpose(1, 2)))
    assert transposed[-1].bytes_moved - in_rows[-1].bytes_moved == 2 * FULL * tokens.numel()


def test_the_multiplications_are_those_that_fvcore_counts() -> None:
    traced = sum(kernel.flops for kernel in trace_forward(tiny())) / 2e9
    counted = sum(cost.gmacs for cost in measure_cost(tiny()))
    assert traced < counted, "fvcore counts norms and resizing too"
    assert traced == pytest.approx(counted, rel=0.03)


def test_the_plain_transformer_has_the_published_multiplications() -> None:
    traced = sum(kernel.flops for kernel in trace_vit("base", 384, 4, True)) / 2e9 / 4
    assert traced == pytest.approx(55.54, rel=0.002), "infer_gmacs of vit_base_patch16_384 in timm's tables"


@pytest.mark.parametrize("row", read_rows("check"), ids=lambda row: f"{row.gpu}, {row.model}")
def test_public_speeds_are_met_that_no_share_was_fitted_on(row: Row) -> None:
    assert row.predicted() == pytest.approx(row.images_per_second, rel=0.15)


def test_the_check_is_of_the_base_model_at_both_sizes_on_three_gpus() -> None:
    checked = {(row.gpu, row.image_size) for row in read_rows("check") if "_base_" in row.model}
    assert checked == {(gpu, size) for gpu in ("RTX 3090", "RTX 4090", "RTX 5090") for size in (384, 512)}
    assert all(row.image_size < 384 for row in read_rows("fit"))


@pytest.mark.parametrize("gpu", sorted(PRODUCT_SHARE))
def test_the_shares_are_those_that_the_rows_give(gpu: str) -> None:
    assert fitted_share(read_rows("fit"), gpu) == PRODUCT_SHARE[gpu]


def traced(micro_run: RunConfig, **changes: bool) -> StepTrace:
    return trace_step(micro_run.model, micro_batch_size=2, precision="fp32", device="cpu", **changes)


def test_the_end_of_a_step_reads_and_writes_the_optimizers_state(micro_run: RunConfig) -> None:
    trace = traced(micro_run)
    kernels = optimizer_kernels(trace, "fp16", "cuda")
    assert [kernel.name for kernel in kernels] == ["mul_", "linalg_vector_norm", "mul_", "_fused_adamw_"]
    assert sum(kernel.bytes_moved for kernel in kernels) == (2 + 1 + 2 + 7) * trace.gradients
    assert len(optimizer_kernels(trace, "fp32", "cpu")) == 2 * trace.parameters + 1


def test_accumulated_forwards_end_in_one_update(micro_run: RunConfig) -> None:
    trace, rates = traced(micro_run), a100()
    one, three = (step_seconds(trace, rates, precision="bf16", device="cuda", forwards=forwards) for forwards in (1, 3))
    assert three - one == pytest.approx(2 * seconds_of(trace.kernels, rates))


def test_a_cpus_rates_are_measured_at_the_shapes_of_the_trace(micro_run: RunConfig) -> None:
    trace, before = traced(micro_run), torch.get_rng_state()
    rates = measure_cpu_rates(trace.kernels, seconds=2.0)
    assert torch.equal(torch.get_rng_state(), before), "a plan draws nothing"
    products = max(trace.kernels, key=lambda kernel: kernel.flops)
    assert rates.measured[products] > 0
    assert rates.seconds(products) == rates.measured[products] + rates.overhead_seconds
    assert {name for name, _ in rates.shares} >= {"mm", "addmm", "_fused_adamw_", "linalg_vector_norm", "mul_"}
    assert step_seconds(trace, rates, precision="fp32", device="cpu") > sum(rates.measured.values()) / 100


def test_a_kernel_without_time_takes_the_share_of_its_operator() -> None:
    known = Kernel(name="gelu", flops=0, bytes_moved=100, dtype=torch.float32)
    rates = CpuRates(
        product_flops=1.0,
        bandwidth=10.0,
        overhead_seconds=0.5,
        measured={known: 20.0},
        shares={("gelu", known.dtype): 0.5},
    )
    assert rates.seconds(known) == 20.5
    assert rates.seconds(replace(known, bytes_moved=50)) == 50 / 10 / 0.5 + 0.5
    assert rates.seconds(replace(known, name="add")) == 100 / 10 + 0.5


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_kernel_of_a_step_can_be_repeated(micro_run: RunConfig, precision: str) -> None:
    trace = trace_step(micro_run.model, micro_batch_size=2, precision=precision, device="cpu")  # type: ignore[arg-type]
    with torch.no_grad():
        for kernel in set(trace.kernels):
            assert kernel.call is not None
            cpu_rates._repeated(kernel.call)()


@pytest.mark.parametrize(
    ("asked", "found"),
    [("A100", "A100"), ("A100-80G", "A100-SXM4-80GB"), ("V100", "V100-SXM2"), ("RTX 4090", "RTX 4090")],
)
def test_a_gpu_is_found_by_rays_name(asked: str, found: str) -> None:
    device = named_device(asked)
    assert device is not None
    assert device.name == found


def test_the_device_is_the_one_that_a_run_would_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(planned_time.torch.cuda, "is_available", lambda: False)
    assert planned_device(ExecutionConfig(device="cpu", workers=2)) is planned_device(ExecutionConfig()) is None
    for execution in (ExecutionConfig(device="cuda"), ExecutionConfig(workers=2)):
        with pytest.raises(InputError, match="no GPU is here, and none is named. Name one with --accelerator-type"):
            planned_device(execution)
    with pytest.raises(InputError, match="MI300X is not in the table of devices"):
        planned_device(ExecutionConfig(accelerator_type="MI300X"))
    monkeypatch.setattr(planned_time.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(planned_time.torch.cuda, "get_device_name", lambda index: "NVIDIA L4")
    device = planned_device(ExecutionConfig())
    assert device is not None
    assert device.name == "L4"


def test_two_workers_take_half_of_a_step(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    one, two = (
        plan_step(
            micro_run, replace(execution, device="auto", accelerator_type="A100", workers=workers, micro_batch_size=3)
        )
        for workers in (1, 2)
    )
    assert one.seconds > two.seconds > one.seconds / 2, "the update is not shared"
    assert "no GPU has confirmed a training step" in one.rests_on


def test_a_plan_has_step_time_and_mfu(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    arguments = ["--scale", "tiny", "--data", "refcoco_unc", "--workers", "4", "--prepared", str(tmp_path)]
    assert main(["train", "--plan", *arguments, "--accelerator-type", "RTX 4090"]) == 0
    printed = {line[:16].strip(): line[17:] for line in capsys.readouterr().out.splitlines()}
    assert "s of 16 samples (roofline of RTX 4090, not measured: rates fitted on inference" in printed["step time"]
    assert printed["MFU"].endswith("of 82.6 TFLOP/s"), "tiny trains in fp32"
    step, hours = float(printed["step time"].split()[0]), float(printed["estimated time"].split(" = ")[1].split()[0])
    evaluated = 10834 / (3 * 16)
    assert hours == pytest.approx(4 * step * (30156 + evaluated) / 3600, abs=0.06)
    assert main(["train", "--plan", *arguments, "--device", "cuda"]) == 0
    assert "step time        not known: no GPU is here" in capsys.readouterr().out
