"""MaskRIS and mmdetection's RefSegMetric: torch, and sums in float32, group after group."""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.public_evaluators.counts import MaskCounts, in_groups
from pipeline.evaluation.public_evaluators.evaluator import Fault, PublicEvaluator, Source
from pipeline.evaluation.public_evaluators.mask_rules import LAVT_MASKS

_BATCH = 8
"""Expressions per batch, as MaskRIS's main sets it. Sums are rounded once per batch."""


def _iou32(counts: MaskCounts) -> np.ndarray:
    """Return IoU [N] in float32, NaN where both masks are empty."""
    return counts.intersection.astype(np.float32) / counts.union.astype(np.float32)


def _sum32(values: np.ndarray) -> np.float32:
    """Add a few float32 numbers as torch does, whose order of additions is not NumPy's."""
    import torch

    return np.float32(torch.from_numpy(np.ascontiguousarray(values)).sum().item())


def _maskris(counts: MaskCounts) -> dict[str, float]:
    iou, total = _iou32(counts), np.int64(len(counts))
    iou_sum = intersection = union = np.float32(0)
    for first in range(0, len(counts), _BATCH):
        batch = slice(first, first + _BATCH)
        iou_sum += _sum32(iou[batch])
        intersection += np.float32(counts.intersection[batch].sum())
        union += np.float32(counts.union[batch].sum())
    return {
        "Mean IoU": iou_sum / np.float32(total) * np.float32(100.0),
        **{
            f"precision@{level}": np.float32(np.count_nonzero(iou >= np.float32(level)) * 100.0) / np.float32(total)
            for level in (0.5, 0.7, 0.9)
        },
        "overall IoU": intersection * np.float32(100.0) / union,
        "overall IoU in integers": counts.intersection.sum() * 100.0 / counts.union.sum(),
    }


def _mmdet(counts: MaskCounts) -> dict[str, float]:
    assert counts.image_ids is not None
    iou, iou_sum = np.nan_to_num(_iou32(counts), nan=0.0), np.float32(0)
    for group in in_groups(counts.image_ids):
        iou_sum += _sum32(iou[group])
    return {
        "cIoU": float(np.float32(counts.intersection.sum() * 100) / np.float32(counts.union.sum())),
        "mIoU": float(iou_sum * np.float32(100) / np.float32(len(counts))),
    }


MASKRIS = PublicEvaluator(
    name="maskris",
    system="MaskRIS",
    source=Source(
        repository="naver-ai/maskris",
        commit="01b54d5232dd1142d4b9aa82c75091fe7952fc4a",
        file="eval.py",
        function="batch_evaluate",
    ),
    masks="bilinear resize of logits with aligned corners to the input size, argmax; true mask resized nearest, or "
    "at the original size by an option",
    both_empty="NaN, which makes the mean NaN",
    precision_at="IoU >= X",
    means="over expressions; sums in float32, rounded per batch of 8",
    scored_at="input",
    no_target="counted",
    formula=_maskris,
    mask_rule=LAVT_MASKS,
    faults=(
        Fault(
            what="sums of pixels in float32, which are rounded above 2^24 pixels",
            scores=("overall IoU",),
            right=(("overall IoU", "overall IoU in integers"),),
        ),
        Fault(what="one sample with both masks empty makes the mean NaN", scores=("Mean IoU",)),
    ),
)
MMDET = PublicEvaluator(
    name="mmdet",
    system="mmdetection's RefSegMetric",
    source=Source(
        repository="open-mmlab/mmdetection",
        commit="0f8d6efbb4b7885a0e75b6bfb0c2d6f1db4ceb27",
        file="mmdet/evaluation/metrics/refseg_metric.py",
        function="RefSegMetric",
    ),
    masks="of the network, at the original size",
    both_empty="IoU 0, counted",
    precision_at="",
    means="over the expressions it is given; IoU and its sum in float32, image after image",
    scored_at="original",
    no_target="counted",
    grouped_by="image_ids",
    formula=_mmdet,
)
