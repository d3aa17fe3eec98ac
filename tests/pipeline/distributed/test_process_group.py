"""What DDP asks of a model: every parameter gets a gradient, in every variant that a sweep trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.distributed.process_group import Worker, random_state, restore_random_state, seed_everything
from pipeline.distributed.sync_batch_norm import GlobalBatchNorm2d, synchronize
from pipeline.recipes import default_run
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.loss import segmentation_loss
from sweeps.registry import find_sweep
from sweeps.spec import cells_of
from tests.integration import workers


def variants() -> dict[str, ComparedModelConfig]:
    """Return variant -> model of every cell of tables III to VIII that is built, at the tiny scale."""
    cells = cells_of(find_sweep("all"), lambda seed, _: default_run(scale="tiny", seed=seed), seeds=(0,))
    return {cell.config.model.variant: cell.config.model for cell in cells if cell.config is not None}


@pytest.mark.parametrize("config", [pytest.param(config, id=name) for name, config in variants().items()])
def test_every_parameter_of_a_variant_gets_a_gradient(config: ComparedModelConfig) -> None:
    torch.manual_seed(0)
    model, encoder = build_model(config).train(), config.encoder
    ids_BT = torch.randint(4, 1000, (2, encoder.text_tokens))
    padding_BT = torch.arange(encoder.text_tokens)[None] >= torch.tensor([[9], [6]])
    mask_BHW = torch.randint(0, 2, (2, encoder.image_size, encoder.image_size))
    logits_BHW = model(torch.randn(2, 3, encoder.image_size, encoder.image_size), ids_BT, padding_BT)
    total = segmentation_loss(logits_BHW, mask_BHW, default_run().train.loss).total
    own = model.pop_auxiliary_loss(mask_BHW)
    (total if own is None else total + own).backward()
    unused = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert unused == []


def test_every_batch_norm_of_a_variant_is_synchronised() -> None:
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    for name, config in variants().items():
        with torch.device("meta"):
            model = build_model(config)
        kinds = {type(module) for module in model.modules() if isinstance(module, norms)}
        assert kinds <= {nn.BatchNorm2d}, f"{name}: {kinds} are not synchronised on the CPU"


def test_synchronising_replaces_all_and_keeps_names_and_values(
    micro_model: ComparedModelConfig, tmp_path: Path
) -> None:
    workers.call(2, check_synchronising, tmp_path, micro_model)


def check_synchronising(worker: Worker, config: ComparedModelConfig) -> None:
    model = build_model(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    converted = synchronize(model, worker)
    norms = [module for module in converted.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(module, GlobalBatchNorm2d) for module in norms)
    after = converted.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_generators_go_on_where_they_were() -> None:
    seed_everything(3, rank=1)
    torch.rand(5)
    state = random_state(torch.device("cpu"))
    expected = torch.rand(5)
    seed_everything(3, rank=2)
    assert not torch.equal(torch.rand(5), expected)
    restore_random_state(state, torch.device("cpu"))
    assert torch.equal(torch.rand(5), expected)
