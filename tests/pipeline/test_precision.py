"""How a run computes: stated in its config, set in the process, recorded, and set back."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.config import ExecutionConfig, RunConfig, replace_at
from pipeline.job import resolve_job
from pipeline.precision import autocast, numerics, numerics_in_words, weights_cast_once
from pipeline.records import record_path
from pipeline.run import run_in_process
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model

CPU = torch.device("cpu")
DEFAULT = {"float32_products": "float32", "float32_convolutions": "float32", "deterministic": False}


def test_numerics_are_set_and_set_back() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, dict(os.environ)
    with numerics("float32", deterministic=False):
        assert numerics_in_words() == DEFAULT

    def fail() -> None:
        with numerics("tf32", deterministic=True):
            set_to = {"float32_products": "tf32", "float32_convolutions": "tf32", "deterministic": True}
            assert numerics_in_words() == set_to
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not torch.are_deterministic_algorithms_enabled()
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, dict(os.environ)) == before


def test_tf32_is_another_run_and_deterministic_kernels_are_not(micro_run: RunConfig) -> None:
    rounded = replace_at(micro_run, "train.float32_products", "tf32")
    assert rounded.content_hash("data") != micro_run.content_hash("data")
    assert "deterministic" not in vars(micro_run.train)


def test_a_run_records_its_numerics(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    """Deterministic kernels are those of every CPU run: the bits are the same."""
    run, weights = replace_at(micro_run, "train.epochs", 1), []
    for deterministic in (False, True):
        runs_root = f"{execution.runs_root}-{deterministic}"
        placed = replace(execution, deterministic=deterministic, runs_root=runs_root)
        job = resolve_job(run, placed, provenance={"git_commit": "test", "git_dirty": False, "versions_json": "{}"})
        run_in_process(job)
        recorded = json.loads(pd.read_parquet(record_path(Path(runs_root), job.run_id))["hardware_json"].iloc[0])
        assert {name: recorded[name] for name in DEFAULT} == {**DEFAULT, "deterministic": deterministic}
        weights.append((job.model_folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


class CountedCasts(TorchDispatchMode):
    """Counts changes of a number format."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts["casts"] += func.overloadpacket.__name__ in ("to", "_to_copy")
        return func(*args, **(kwargs or {}))


def test_evaluation_casts_each_weight_once(micro_model: ComparedModelConfig) -> None:
    torch.manual_seed(0)
    model = build_model(micro_model).eval()
    inputs = torch.randn(1, 3, 32, 32), torch.randint(3, 100, (1, 20)), None

    def forward() -> tuple[torch.Tensor, int]:
        with CountedCasts() as casts, autocast("bf16", CPU):
            logits = model(*inputs)
        return logits, casts.counts["casts"]

    with torch.no_grad():
        expected, every_time = forward()
        with weights_cast_once(CPU):
            first, at_first = forward()
            again, later = forward()
        _, after = forward()
    assert every_time == at_first == after
    # Weights and biases of encoder, FPN, decoder and head that products read; the casts of tokens stay.
    print(f"casts in a forward: {every_time}, later ones {later}")
    assert later < every_time / 2
    assert torch.equal(first, expected)
    assert torch.equal(again, expected)
    with torch.inference_mode(), weights_cast_once(CPU):
        forward()
        assert forward()[1] >= every_time, "torch caches no cast there: evaluation runs without it"
