"""Details of the compared modules that no golden file of a whole module holds: places, depths, sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sharedris.baselines import decoder_adapters, swin
from sharedris.baselines.config import (
    ComparedFpnConfig,
    ComparedModelConfig,
    CrisConfig,
    DmmiConfig,
    PwamConfig,
    SwinConfig,
)
from sharedris.baselines.cris_fpn import CrisFpn
from sharedris.baselines.decoder_adapters import DmmiMask, split_tokens
from sharedris.baselines.dmmi_decoder import Readings
from sharedris.baselines.pwam import PwamFusion
from sharedris.baselines.pyramid import ResampledPyramid, enlarge
from sharedris.baselines.swin import Swin, SwinBlock
from sharedris.encoder import Streams


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
    monkeypatch.setattr(SwinBlock, "sample_keep", lambda _, tokens, rate, part: tokens.new_zeros(len(tokens), 1, 1))
    block = SwinBlock(8, 1, window=2, shift=1, drop_path=0.5).train()
    pixels = torch.randn(2, 16, 8)
    host = torch.device("cpu")
    windows = swin.offset_rows(2, host), swin.apart_after_shift(4, 2, host)
    assert torch.equal(block(pixels, 4, *windows), pixels)
    assert not torch.equal(block.eval()(pixels, 4, *windows), pixels)


def test_patches_become_a_map_row_by_row() -> None:
    tokens = torch.arange(1 + 9 + 2).float()[None, :, None]
    map_BWGG, text_BTW, _ = split_tokens(tokens, None, 10, 3)
    assert map_BWGG[0, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert text_BTW.flatten().tolist() == [10, 11]


def test_maps_are_enlarged_by_pixel_centers() -> None:
    assert enlarge(torch.tensor([[[[0.0, 4.0]]]]), 2)[0, 0].tolist() == [[0.0, 1.0, 3.0, 4.0]] * 2


@torch.no_grad()
def test_the_coarsest_level_keeps_rows_and_columns() -> None:
    pyramid = ResampledPyramid(1, (4, 1, 1, 1))
    nn.init.ones_(pyramid.merged.weight)
    nn.init.zeros_(pyramid.merged.bias)
    coarsest = pyramid(torch.arange(16.0).view(1, 1, 4, 4))[0]
    assert coarsest[0].tolist() == [[[0, 2], [8, 10]], [[1, 3], [9, 11]], [[4, 6], [12, 14]], [[5, 7], [13, 15]]]


def dmmi_mask(**changes: float) -> DmmiMask:
    torch.manual_seed(0)
    return DmmiMask(DmmiConfig(pyramid_widths=(16, 8, 4, 2), width=16, mlp_width=24, **changes), 16)  # type: ignore[arg-type]


def test_logits_of_dmmi_are_foreground_minus_background() -> None:
    mask = dmmi_mask().eval()
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 1] = 3.0
    mask.decoder.forward = lambda *_: Readings(logits, None, None)  # type: ignore[method-assign]
    assert (mask([], torch.zeros(1, 5, 16), None) == 3.0).all()


def test_each_loss_of_dmmi_has_its_own_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = dmmi_mask(reconstruction_loss=2.0, contrastive_loss=5.0).train()
    monkeypatch.setattr(decoder_adapters, "reconstruction_loss", lambda *_: torch.tensor(10.0))
    monkeypatch.setattr(decoder_adapters, "contrastive_loss", lambda *_: torch.tensor(100.0))
    maps = [torch.randn(2, width, side, side) for width, side in ((16, 2), (8, 4), (4, 8), (2, 16))]
    mask(maps, torch.randn(2, 5, 16), None)
    assert mask.pop_auxiliary_loss(torch.zeros(2, 16, 16)) == 520.0


@torch.no_grad()
def test_tokens_around_the_map_of_cris_are_the_mean_of_the_stages(micro_model: ComparedModelConfig) -> None:
    torch.manual_seed(0)
    levels = CrisConfig(level_widths=(8, 16, 32))
    fpn = ComparedFpnConfig(kind="cris", stages=(1, 2, 3), fusion=micro_model.fpn.fusion, cris=levels)
    encoder = replace(micro_model.encoder, layers=3)
    neck = CrisFpn(replace(micro_model, encoder=encoder, fpn=fpn)).eval()
    outputs = [Streams(torch.randn(2, 17, 16), torch.randn(2, 5, 16)) for _ in range(4)]
    got = neck(outputs, None)
    stages = [project(outputs[stage]) for stage, project in zip((1, 2, 3), neck.projections, strict=True)]
    mean: Tensor = sum(stages, torch.zeros(())) / 3
    torch.testing.assert_close(got[:, 0], mean[:, 0])
    torch.testing.assert_close(got[:, 17:], mean[:, 17:])
    assert not torch.allclose(got[:, 1:17], mean[:, 1:17])
