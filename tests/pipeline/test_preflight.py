"""What is checked of runs before their first step, from a folder that does not exist yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import RunConfig
from pipeline.preflight import check_runs, check_space
from sharedris.config import FusionConfig
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
