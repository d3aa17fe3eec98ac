"""The inputs on which an export is compared with its model: samples of a split, or random ones without a data set.

Shapes: B batch, C 3 colors, S side of the input, T text tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.data.dataset.refer_dataset import ReferDataset
from sharedris.checkpoint import SavedModel
from sharedris.export.graph import example_inputs

SAMPLES_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class CheckBatch:
    """Inputs of a graph, and the size at which each mask is compared."""

    inputs: tuple[Tensor, Tensor, Tensor]  # pixels_BCSS uint8, token_ids_BT int64, padding_BT bool
    sizes: tuple[tuple[int, int], ...]  # height and width of each image


def batches_of_split(dataset: ReferDataset, samples: int) -> Iterator[CheckBatch]:
    """Yield samples that are spread evenly over a split, at most as many as it has."""
    count = min(samples, len(dataset))
    places = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    for start in range(0, count, SAMPLES_AT_ONCE):
        chosen = [dataset[int(place)] for place in places[start : start + SAMPLES_AT_ONCE]]
        yield CheckBatch(
            inputs=(
                torch.stack([sample.image_CSS for sample in chosen]),
                torch.from_numpy(np.stack([sample.token_ids_T for sample in chosen])),
                torch.from_numpy(np.stack([sample.padding_T for sample in chosen])),
            ),
            sizes=tuple((sample.info.height, sample.info.width) for sample in chosen),
        )


def random_batches(saved: SavedModel, samples: int) -> Iterator[CheckBatch]:
    """Yield random pixels and ids, for a model without a data set; masks are compared at twice the input size."""
    encoder = saved.config.encoder
    size = (2 * encoder.image_size, 2 * encoder.image_size)
    for start in range(0, samples, SAMPLES_AT_ONCE):
        batch = min(SAMPLES_AT_ONCE, samples - start)
        inputs = example_inputs(saved.config, batch, encoder.text_tokens, seed=start)
        yield CheckBatch(inputs=inputs, sizes=(size,) * batch)


def prepared_split(prepared: str, split: str | None) -> str | None:
    """Return the split if its set is prepared, else None."""
    return split if split and (Path(prepared) / split.split("/")[0]).is_dir() else None
