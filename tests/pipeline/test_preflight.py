"""What is checked of runs before their first step, from a folder that does not exist yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import RunConfig
from pipeline.preflight import check_runs, check_space
from sharedris.config import FusionConfig
from sharedris.errors import InputError
from sharedris.registry import FUSIONS


class ReadsValues(nn.Module):
    """A fusion that cannot be built on the meta device: it reads a value."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        self.scale = float(torch.ones(1).sum())
        self.linear = nn.Linear(width, width)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W)."""
        return self.scale * self.linear(tokens_BSW)


def test_the_runs_folder_need_not_exist_and_is_not_made(micro_run: RunConfig, tmp_path: Path) -> None:
    check_runs([micro_run], tmp_path / "new" / "runs")
    assert not (tmp_path / "new").exists()


def test_a_module_that_needs_values_is_checked_without_its_size(
    micro_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FUSIONS, "reads", ReadsValues)
    model = replace(micro_run.model, fpn=replace(micro_run.model.fpn, kind="reads"))
    check_runs([replace(micro_run, model=model)], tmp_path)
    check_space([], tmp_path)


def test_the_space_is_that_of_the_runs_that_train_at_once(
    micro_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten copies of the weights while a run trains, one after it."""
    monkeypatch.setattr("pipeline.preflight._count_weights", lambda _: 2**18)  # a copy is 1 MiB
    runs = [replace(micro_run, seed=seed) for seed in range(4)]
    for at_once, needed in ((1, 13), (2, 22), (4, 40), (9, 40)):
        for free in (needed, needed - 1):
            monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: SimpleNamespace(free=free * 2**20))
            if free == needed:
                check_space(runs, tmp_path, at_once=at_once)
                continue
            said = f"has {free} MiB free, 4 runs, {min(at_once, 4)} at once, write up to {needed} MiB"
            with pytest.raises(InputError, match=said):
                check_space(runs, tmp_path, at_once=at_once)
