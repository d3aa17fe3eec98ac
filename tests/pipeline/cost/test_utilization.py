"""MFU and hours of a run: peaks by device, the arithmetic, and where they are recorded."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.cost import devices, utilization
from pipeline.cost.devices import DEVICES, cpu_product_flops, emulation_warning, find_device, peak_flops
from pipeline.cost.utilization import model_flops_utilization, model_gmacs
from pipeline.job import resolve_job
from pipeline.monitoring.mlflow_record import final_metrics
from pipeline.records import history_path, record_path
from pipeline.run import run_in_process
from sharedris.baselines.config import ComparedModelConfig


@pytest.mark.parametrize(
    ("printed", "half", "single"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0, 67.0),
        ("NVIDIA H100 PCIe", 756.0, 51.0),
        ("NVIDIA A100-SXM4-40GB", 312.0, 19.5),
        ("Tesla V100-SXM2-16GB", 125.0, 15.7),
        ("NVIDIA L40S", 362.0, 91.6),
        ("NVIDIA A10G", 70.0, 31.5),
        ("NVIDIA GeForce RTX 4090", 165.2, 82.6),
    ],
)
def test_a_device_is_found_by_the_name_that_torch_prints(printed: str, half: float, single: float) -> None:
    device = find_device(printed)
    assert device is not None
    assert (device.flops("bf16"), device.flops("fp32")) == (1e12 * half, 1e12 * single)
    assert device.flops("fp32", tf32=True) >= device.flops("fp32")


@pytest.mark.parametrize(
    "printed",
    ["NVIDIA GeForce RTX 3090 Ti", "NVIDIA L40", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA T400", "AMD MI300X"],
)
def test_another_device_has_no_peak(printed: str) -> None:
    assert find_device(printed) is None


def test_every_device_is_found_by_its_own_name() -> None:
    assert [find_device(f"NVIDIA {device.name}") for device in DEVICES] == list(DEVICES)
    assert all(device.source for device in DEVICES)


def test_bf16_on_a_device_without_it_is_named() -> None:
    assert "no bf16: it is emulated" in (emulation_warning("Tesla V100-SXM2-16GB", "bf16") or "")
    assert emulation_warning("Tesla V100-SXM2-16GB", "fp16") is None
    assert emulation_warning("NVIDIA H100 80GB HBM3", "bf16") is None


def test_half_of_the_peak_is_an_mfu_of_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utilization, "peak_flops", lambda device, precision, tf32: 12e12)
    # 1 GMAC forward is 6 GFLOPs in training: 2000 samples/s are 12 TFLOP/s, of two devices with 12 each.
    cuda = torch.device("cuda")

    def mfu(gmacs: float | None = 1.0, rate: float | None = 2000.0) -> float | None:
        return model_flops_utilization(gmacs=gmacs, samples_per_second=rate, workers=2, device=cuda, precision="bf16")

    assert mfu() == pytest.approx(0.5)
    assert mfu(gmacs=None) is mfu(rate=None) is None


def test_an_unknown_gpu_has_no_mfu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.torch.cuda, "get_device_name", lambda device: "NVIDIA GeForce RTX 2060")
    assert peak_flops(torch.device("cuda"), "fp16") is None


def test_a_cpus_peak_is_measured_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    assert cpu_product_flops() > 1e8
    assert torch.equal(torch.get_rng_state(), before)
    assert peak_flops(torch.device("cpu"), "bf16") == cpu_product_flops()


def test_counting_draws_nothing(micro_model: ComparedModelConfig) -> None:
    model_gmacs.cache_clear()
    before = torch.get_rng_state()
    assert (model_gmacs(micro_model) or 0) > 0
    assert torch.equal(torch.get_rng_state(), before), "it runs in the middle of a training"


def test_a_run_records_them(micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path) -> None:
    provenance = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
    job = resolve_job(micro_run, execution, provenance=provenance)
    run_in_process(job)
    record = pd.read_parquet(record_path(job.runs_root, job.run_id))
    history = pd.read_parquet(history_path(job.runs_root, job.run_id))
    assert history["mfu"].between(0, 1, inclusive="neither").all()
    assert record["mfu"].between(0, 1, inclusive="neither").all()
    assert record["worker_hours"].iloc[0] == pytest.approx(history["seconds"].sum() / 3600)
    assert {"run/mfu", "run/worker_hours"} <= {name for name, _ in final_metrics(record)}
