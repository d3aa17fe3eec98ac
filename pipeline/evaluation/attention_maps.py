"""Attention maps of a few samples, stored by evaluation for the report's panels (figures 7, 8, 10 and 11).

    RUNS/attention/RUN/NAME.npz    one file per sample, no pickles; the arrays are those of `reports.attention`

Shapes: B = 1, H = W the input size, g the patch grid.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.data.dataset.loader import Batch, collate
from pipeline.evaluation.protocols import INPUT
from pipeline.files import atomic_writer
from sharedris.attention_maps import forward_with_attention
from sharedris.model import SharedRis

STORED_SAMPLES = 6


def store_attention(
    model: SharedRis, dataset: Any, split: str, folder: Path, *, threshold: float, device: torch.device
) -> None:
    """Write the maps of samples spread evenly over a split.

    Args:
        model: unwrapped, in evaluation mode.
        dataset: a ReferDataset of the split.
        folder: RUNS/attention/RUN.
    """
    chosen = sorted({round(place) for place in np.linspace(0, len(dataset) - 1, STORED_SAMPLES)})
    for index in chosen:
        batch = collate([dataset[index]])
        values = sample_arrays(model, batch.to(device), threshold)
        stream = io.BytesIO()
        arrays: dict[str, Any] = {"split": np.array(split), "index": np.array(index), **values}
        np.savez_compressed(stream, **arrays)
        with atomic_writer(folder / f"{split.replace('/', '-')}-{index:06d}.npz") as file:
            file.write(stream.getvalue())


def sample_arrays(model: SharedRis, batch: Batch, threshold: float) -> dict[str, np.ndarray]:
    """Return the arrays of one sample: image, expression, maps per component, predicted and true mask."""
    logits_BHW, maps = forward_with_attention(model, batch.image_BCHW, batch.token_ids_BT, batch.padding_BT)
    size = batch.mask_BHW.shape[1], batch.mask_BHW.shape[2]
    prediction_HW = INPUT.binarize(torch.sigmoid(logits_BHW[0].float()), size, threshold)
    return {
        "image": _pixels(batch.image_BCHW[0]),
        "expression": np.array(batch.samples[0].expression),
        "prediction": prediction_HW.cpu().numpy(),
        "mask": batch.mask_BHW[0].cpu().numpy().astype(bool),
        **{name: map_Bgg[0].float().cpu().numpy() for name, map_Bgg in maps.items()},
    }


def _pixels(image_CHW: Tensor) -> np.ndarray:
    """Undo the normalisation to mean and standard deviation 0.5."""
    return ((image_CHW * 0.5 + 0.5) * 255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
