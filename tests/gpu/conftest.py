"""What the tests of a GPU share: the device, and models of a size that it needs.

`make test-gpu` runs them on a GPU. `make test-slow` runs the same bodies on the CPU with the smallest model, which
shows that the tests themselves work, and nothing about a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from sharedris.baselines.config import ComparedModelConfig
from sharedris.scales import base


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu), pytest.param("cpu", marks=pytest.mark.slow)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """The GPU, or the CPU as a dry run."""
    if request.param == "cpu":
        yield torch.device("cpu")
        return
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)  # for the reference on the CPU
    yield torch.device("cuda", 0)
    torch.set_num_threads(threads)


@pytest.fixture
def two_layers(device: torch.device, micro_model: ComparedModelConfig) -> ComparedModelConfig:
    """The base model at 480 pixels with two layers; on the CPU the micro model, which has two as well."""
    if device.type == "cpu":
        return micro_model
    model = base()
    return replace(model, encoder=replace(model.encoder, layers=2), fpn=replace(model.fpn, stages=(1, 2)))
