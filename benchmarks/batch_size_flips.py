"""Counts the pixels of masks that another batch size at evaluation flips.

python -m benchmarks.batch_size_flips runs/models/RUN toyplus_unc/val --batch-size 8
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import EvaluationConfig
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.masks import decode_mask
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.evaluate import evaluate_split
from pipeline.evaluation.split_samples import split_of_model
from sharedris.checkpoint import load_model


def rows_of(model: Path, split: str, prepared: str, samples: int, batch_size: int) -> pd.DataFrame:
    """Return the per-sample rows of the first samples of a split in fp32 on the CPU."""
    loaded = load_model(model)
    dataset = split_of_model(prepared, split, loaded)
    evaluation = EvaluationConfig(threshold=loaded.threshold, batch_size=batch_size)
    return evaluate_split(
        loaded.model,
        FirstSamples(dataset, samples),
        evaluation=evaluation,
        precision="fp32",
        worker=Worker(),
    )


class FirstSamples:
    """The first samples of a data set."""

    def __init__(self, dataset: ReferDataset, samples: int) -> None:
        self.dataset, self.samples = dataset, min(samples, len(dataset))

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> object:
        return self.dataset[index]


def main() -> None:
    """Evaluate with both batch sizes and print what differs."""
    parser = argparse.ArgumentParser(description="Count the pixels that another batch size flips.")
    parser.add_argument("model", type=Path)
    parser.add_argument("split")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--samples", type=int, default=10**9, help="the first samples only")
    parser.add_argument("--prepared", default="data/prepared")
    args = parser.parse_args()
    one, many = (rows_of(args.model, args.split, args.prepared, args.samples, size) for size in (1, args.batch_size))
    flipped = pixels = masks = 0
    for (_, first), (_, second) in zip(one.iterrows(), many.iterrows(), strict=True):
        size = {"height": int(first["height"]), "width": int(first["width"])}
        pair = [decode_mask(row["mask_rle"], **size) for row in (first, second)]
        differ = int(np.count_nonzero(pair[0] != pair[1]))
        flipped, pixels, masks = flipped + differ, pixels + pair[0].size, masks + (differ > 0)
    print(f"{len(one)} masks of {args.split}, batch size {args.batch_size} against 1, fp32 on the CPU")
    print(f"{flipped} of {pixels} pixels flip, in {masks} masks")


if __name__ == "__main__":
    main()
