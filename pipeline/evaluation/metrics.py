"""oIoU, mIoU and P@X from per-sample rows; the one place where scores are computed.

oIoU = sum of intersections / sum of unions; mIoU = mean of per-sample IoU; P@X = share of samples with IoU > X. Where
both masks are empty IoU is 1 and no pixels are added; such samples are counted. All sums are of integers, so the
scores do not depend on which worker computed which sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.protocols import Protocol
from pipeline.records import PRECISION_THRESHOLDS


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one split under one protocol, as ratios 0 .. 1, with those of trivial answers on the same samples."""

    samples: int
    images: int
    empty_unions: int
    oiou: float
    miou: float
    precision: dict[float, float]
    all_background_oiou: float
    all_background_miou: float
    all_image_oiou: float
    all_image_miou: float


def iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Return per-sample IoU [N] as float64 from integer counts [N]; 1 where the union is empty."""
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def overall_iou(intersection: np.ndarray, union: np.ndarray) -> float:
    """Return the ratio of integer sums; 1 when there is nothing in any union."""
    total = int(union.sum())
    return int(intersection.sum()) / total if total else 1.0


def score(samples: pd.DataFrame, protocol: Protocol, *, input_size: int) -> Scores:
    """Return the scores of per-sample rows (columns of SAMPLE_SCHEMA) under one protocol.

    Raises:
        ValueError: when there are no samples, or a sample is missing or counted twice.
    """
    index = np.sort(samples["index"].to_numpy())
    if len(index) == 0 or not np.array_equal(index, np.arange(len(index))):
        raise ValueError(f"{len(index)} rows do not hold each sample 0 .. N-1 exactly once")
    samples = samples.sort_values("index")
    intersection = samples[f"intersection_{protocol.name}"].to_numpy()
    union = samples[f"union_{protocol.name}"].to_numpy()
    ious = iou(intersection, union)
    target = samples[f"target_area_{protocol.scored_at}"].to_numpy()
    if protocol.scored_at == "input":
        pixels = np.full(len(samples), input_size**2, dtype=np.int64)
    else:
        pixels = samples["height"].to_numpy(np.int64) * samples["width"].to_numpy(np.int64)
    nothing = np.zeros_like(target)
    return Scores(
        samples=len(samples),
        images=int(samples["image_id"].nunique()),
        empty_unions=int((union == 0).sum()),
        oiou=overall_iou(intersection, union),
        miou=float(ious.mean()),
        precision={level: float((ious > level).mean()) for level in PRECISION_THRESHOLDS},
        all_background_oiou=overall_iou(nothing, target),
        all_background_miou=float(iou(nothing, target).mean()),
        all_image_oiou=overall_iou(target, pixels),
        all_image_miou=float(iou(target, pixels).mean()),
    )
