"""Masks as JSON Lines, the form `lines` of PREDICTION_READERS: ours for others, and for a check of the way back."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from pipeline.files import atomic_writer


def write_mask_lines(path: Path, samples: pd.DataFrame) -> None:
    """Write a line per sample, in one step.

    Args:
        path: of the file.
        samples: per-sample rows with `sent_id`, `height`, `width` and `mask_rle`.
    """
    columns = (samples[name] for name in ("sent_id", "height", "width", "mask_rle"))
    with atomic_writer(path) as stream:
        for sent_id, height, width, counts in zip(*columns, strict=True):
            segmentation = {"size": [int(height), int(width)], "counts": bytes(counts).decode()}
            stream.write(json.dumps({"sent_id": int(sent_id), "segmentation": segmentation}).encode() + b"\n")
