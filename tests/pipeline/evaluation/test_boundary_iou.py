"""Boundary IoU against its definition, pixel by pixel, and what reads it: scores, records and figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.boundary_iou import RATIO, boundary, boundary_distance, boundary_iou
from pipeline.evaluation.metrics import METRICS, score, shown_metrics
from pipeline.evaluation.protocols import ORIGINAL
from pipeline.evaluation.sample_columns import mask_numbers
from tests.pipeline.evaluation.test_metrics import frame, random_masks


def plain_boundary(mask_HW: np.ndarray, distance: int) -> np.ndarray:
    """The pixels of the mask with a pixel outside it, or the border of the image, within the distance."""
    height, width = mask_HW.shape
    found = np.zeros_like(mask_HW)
    for row, column in zip(*np.nonzero(mask_HW), strict=True):
        near = [(row + y, column + x) for y in range(-distance, distance + 1) for x in range(-distance, distance + 1)]
        found[row, column] = any(not (0 <= y < height and 0 <= x < width) or not mask_HW[y, x] for y, x in near)
    return found


def eroded_boundary(mask_HW: np.ndarray, distance: int) -> np.ndarray:
    """The rule of the authors' code: a border of background, then erosions by 3 x 3, as many as the distance."""
    inside = np.pad(mask_HW, 1)
    for _ in range(distance):
        padded = np.pad(inside, 1)
        inside = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).all(axis=(2, 3))
    return mask_HW & ~inside[1:-1, 1:-1]


@pytest.mark.parametrize("distance", [1, 2, 4])
def test_a_boundary_is_that_of_the_definition(distance: int) -> None:
    for mask, _ in random_masks(40, seed=distance):
        blocks = np.kron(mask, np.ones((3, 3), dtype=bool))
        expected = plain_boundary(blocks, distance)
        assert np.array_equal(expected, eroded_boundary(blocks, distance))
        assert np.array_equal(boundary(blocks, distance), expected)


def test_the_score_is_that_of_whole_masks() -> None:
    for pair in random_masks(60, seed=9):
        mask, target = (np.kron(each, np.ones((9, 9), dtype=bool)) for each in pair)
        distance = max(1, round(RATIO * np.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2)))
        of_mask, of_target = eroded_boundary(mask, distance), eroded_boundary(target, distance)
        union = (of_mask | of_target).sum()
        assert boundary_iou(mask, target) == ((of_mask & of_target).sum() / union if union else 1.0)
    assert [boundary_distance(*size) for size in ((480, 640), (8, 8), (2000, 1000))] == [16, 1, 45]


def test_it_is_null_where_rows_have_none() -> None:
    masks = random_masks(12, seed=3)
    rows = frame(masks)
    assert score(rows, ORIGINAL, input_size=8).values["boundary_iou"] is None
    numbers = [mask_numbers(ORIGINAL, *pair)["boundary_iou_original"] for pair in masks]
    full = rows.assign(boundary_iou_original=numbers)
    assert score(full, ORIGINAL, input_size=8).values["boundary_iou"] == pytest.approx(np.mean(numbers))
    assert (
        score(full.assign(boundary_iou_original=[None, *numbers[1:]]), ORIGINAL, input_size=8).values["boundary_iou"]
        is None
    )
    metric = METRICS["boundary_iou"]
    assert metric not in shown_metrics(pd.DataFrame({"boundary_iou": [None]}), "detail")
    assert metric in shown_metrics(pd.DataFrame({"boundary_iou": [0.5]}), "detail")
