"""Stored attention maps are what the reports read: same names, same image, weights that add up to at most 1."""

from pathlib import Path

import numpy as np
import torch

from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.evaluation.attention_maps import STORED_SAMPLES, store_attention
from reports.attention import read_attention
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model


def test_the_reports_read_what_evaluation_stored(
    toy_root: Path, micro_model: ComparedModelConfig, tmp_path: Path
) -> None:
    encoder = micro_model.encoder
    dataset = ReferDataset(
        str(toy_root), "toyplus_unc/val", image_size=encoder.image_size, text_tokens=encoder.text_tokens
    )
    model = build_model(micro_model).eval()
    folder = tmp_path / "attention" / "some-run"
    store_attention(model, dataset, "toyplus_unc/val", folder, threshold=0.35, device=torch.device("cpu"))
    samples, problems = read_attention(tmp_path, "some-run")
    assert problems == []
    assert len(samples) == STORED_SAMPLES
    assert {sample.split for sample in samples} == {"toyplus_unc/val"}
    assert [sample.index for sample in samples][-1] == len(dataset) - 1
    for sample in samples:
        info = dataset[sample.index].info
        assert sample.expression == info.expression
        assert sample.image.shape == (32, 32, 3)
        assert set(sample.maps) == {"encoder", "fpn", "decoder"}
        for weights in sample.maps.values():
            assert weights.shape == (4, 4)
            assert (weights >= 0).all()
            assert weights.sum() <= 1 + 1e-5
        assert sample.mask is not None
        assert np.isin(sample.mask, (False, True)).all()
