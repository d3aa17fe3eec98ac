"""A model folder of random weights for the tests of exports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.data.prepared.manifest import load_manifest
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import SavedModel, load_model, save_model
from tests.conftest import TOY

RECORDED = "micro-toyplus_unc-s0-b0aad334f2f9"
"""The run of the record in tests/golden/records/v1; the model is another one with its name."""


@pytest.fixture(scope="module")
def saved(toy_root: Path, micro_model: ComparedModelConfig, tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    """A micro model with random weights, saved with the tokenizer of the toy set."""
    folder = tmp_path_factory.mktemp("model") / RECORDED
    torch.manual_seed(0)
    tokenizer = load_manifest(toy_root, TOY).tokenizer_path
    save_model(folder, build_model(micro_model), micro_model, tokenizer, 0.5, RECORDED)
    return load_model(folder)
