"""Arrays stored for the report's panels: the image that the model saw, and the mask that it predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pipeline.data.dataset.loader import collate
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.evaluation.attention_maps import sample_arrays
from pipeline.evaluation.metrics import score
from pipeline.evaluation.protocols import PROTOCOLS
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model


@torch.no_grad()
def test_image_and_prediction_are_those_of_the_forward_pass(toy_root: Path, micro_model: ComparedModelConfig) -> None:
    dataset = ReferDataset(str(toy_root), "toyplus_unc/val", image_size=32, text_tokens=20)
    torch.manual_seed(0)
    model = build_model(micro_model).eval()
    sample = dataset[0]
    batch = collate([sample])
    probability_HW = model(batch.image_BCHW, batch.token_ids_BT, batch.padding_BT)[0].sigmoid()
    threshold = float(probability_HW.median())
    arrays = sample_arrays(model, batch, threshold)
    assert np.array_equal(arrays["image"], sample.image_CSS.permute(1, 2, 0).numpy())
    expected = PROTOCOLS["input"].binarize(probability_HW, (32, 32), threshold)
    assert 0.2 < expected.float().mean() < 0.8
    assert np.array_equal(arrays["prediction"], expected.numpy())
    assert np.array_equal(arrays["mask"], sample.mask_SS.astype(bool))


def test_a_split_of_empty_masks_scores_one() -> None:
    columns = {"index": [0, 1], "image_id": [1, 2], "height": [4, 4], "width": [4, 4], "target_area_original": [0, 0]}
    rows = pd.DataFrame({**columns, "intersection_original": [0, 0], "union_original": [0, 0]})
    scores = score(rows, PROTOCOLS["original"], input_size=8)
    assert (scores.values["oiou"], scores.values["miou"], scores.empty_unions) == (1.0, 1.0, 2)
    assert (scores.values["all_background_oiou"], scores.values["all_image_oiou"]) == (1.0, 0.0)
