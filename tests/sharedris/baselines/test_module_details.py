"""Details of the compared modules that no golden file of a whole module holds: places, depths, sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sharedris.baselines import swin
from sharedris.baselines.config import ComparedFpnConfig, PwamConfig, SwinConfig
from sharedris.baselines.pwam import PwamFusion
from sharedris.baselines.swin import Swin, SwinBlock


@torch.no_grad()
def test_pwam_changes_the_patches_and_no_other_token() -> None:
    torch.manual_seed(0)
    options = PwamConfig(heads=2, keep_self_attention=False)
    fusion = PwamFusion(8, ComparedFpnConfig(kind="pwam", stages=(1,), pwam=options)).eval()
    tokens = torch.randn(2, 1 + 9 + 4, 8)
    got = fusion(tokens, None, 10)
    assert torch.equal(got[:, 0], tokens[:, 0])
    assert torch.equal(got[:, 10:], tokens[:, 10:])
    torch.testing.assert_close(got[:, 1:10], tokens[:, 1:10] + fusion.pwam(tokens[:, 1:10], tokens[:, 10:], None))


def test_stochastic_depth_of_swin_rises_linearly_over_all_blocks() -> None:
    config = SwinConfig(width=8, depths=(2, 1, 3, 2), heads=(1, 1, 1, 1), window=2, drop_path=0.7)
    blocks = [block for stage in Swin(config).stages for block in stage.blocks]
    assert [block.drop_path for block in blocks] == pytest.approx(np.linspace(0.0, 0.7, 8))


def test_stochastic_depth_of_swin_drops_both_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swin, "sample_keep", lambda tokens, rate: tokens.new_zeros(len(tokens), 1, 1))
    block = SwinBlock(8, 1, window=2, shift=1, drop_path=0.5).train()
    pixels = torch.randn(2, 16, 8)
    offsets = torch.from_numpy(swin.offset_rows(2))
    assert torch.equal(block(pixels, 4, offsets), pixels)
    assert not torch.equal(block.eval()(pixels, 4, offsets), pixels)
