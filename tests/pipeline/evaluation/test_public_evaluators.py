"""Public evaluators: their counts, their rules on samples by hand, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.public_evaluators.counts import MaskCounts, counts_of, in_groups
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS, public_evaluator
from sharedris.errors import InputError


def counts(*rows: tuple[int, int, int], **more: np.ndarray) -> MaskCounts:
    """Return counts of rows (intersection, union, target area)."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return MaskCounts(intersection=columns[0], union=columns[1], target_area=columns[2], **more)


def test_counts_come_from_rows_in_the_order_of_the_index() -> None:
    rows = pd.DataFrame(
        {
            "index": [1, 0],
            "image_id": [7, 8],
            "ref_id": [70, 80],
            "intersection_original": [2, 0],
            "union_original": [5, 3],
            "target_area_original": [4, 0],
            "intersection_input": [1, 0],
            "union_input": [3, 2],
            "target_area_input": [2, 0],
        }
    )
    found = counts_of(rows, PROTOCOLS["original"])
    arrays = (found.predicted_area, found.without_target, found.answered_no_target, found.image_ids, found.ref_ids)
    assert [np.array(each).tolist() for each in (*arrays, found.area_at_input)] == [
        [3, 3],
        [True, False],
        [False, False],
        [8, 7],
        [80, 70],
        [2, 2],
    ]
    told = counts_of(rows.assign(no_target=[True, False], predicted_no_target=[True, False]), PROTOCOLS["original"])
    assert told.without_target.tolist() == [False, True]
    assert told.answered_no_target.tolist() == [False, True]


def test_groups_keep_the_order_of_samples() -> None:
    assert [group.tolist() for group in in_groups(np.array([5, 2, 5, 9, 2]))] == [[0, 2], [1, 4], [3]]
    assert in_groups(np.array([], dtype=np.int64)) == []


@pytest.mark.parametrize("row", [(3, 4, 2), (1, 2, 3), (-1, 2, 1)])
def test_counts_that_no_masks_have_are_refused(row: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no two masks have these counts"):
        counts(row)


def test_an_array_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"confidence is float64 \(2,\), not float64 \(1,\)"):
        counts((1, 2, 1), confidence=np.ones(2))


def test_lavt_counts_an_empty_union_as_0_and_compares_by_at_least() -> None:
    scores = PUBLIC_EVALUATORS["lavt"].scores(counts((0, 0, 0), (1, 2, 2), (3, 5, 4), (9, 10, 10)))
    assert scores["Mean IoU"] == np.mean([0.0, 0.5, 0.6, 0.9]) * 100.0
    assert [scores[f"precision@{level}"] for level in (0.5, 0.6, 0.7, 0.9)] == [75.0, 50.0, 25.0, 25.0]
    assert scores["overall IoU"] == 13 * 100.0 / 17


def test_cris_is_just_below_a_level_at_exactly_that_level() -> None:
    scores = PUBLIC_EVALUATORS["cris"].scores(counts((0, 0, 0), (1, 2, 2), (7, 10, 10), (8, 8, 8)))
    assert (scores["Pr@50"], scores["Pr@70"]) == (50.0, 25.0)
    assert scores["IoU"] < 100.0 * np.mean([0.0, 0.5, 0.7, 1.0])


def test_nothing_predicted_and_nothing_to_predict_has_no_overall_iou() -> None:
    assert math.isnan(PUBLIC_EVALUATORS["lavt"].scores(counts((0, 0, 0)))["overall IoU"])


def test_ref_zom_keeps_samples_without_a_target_apart() -> None:
    scores = PUBLIC_EVALUATORS["ref_zom"].scores(counts((0, 0, 0), (0, 9, 0), (1, 2, 2)))
    assert scores["Mean accuracy for one-to-zero sample"] == 50.0
    assert scores["mean IoU"] == scores["overall IoU"] == 50.0


def test_an_unknown_evaluator_names_the_closest_one() -> None:
    with pytest.raises(InputError, match="unknown public evaluator 'cgfomer', did you mean 'cgformer'?"):
        public_evaluator("cgfomer")


@pytest.mark.parametrize("name", [name for name, each in PUBLIC_EVALUATORS.items() if each.no_target == "needed"])
def test_an_evaluator_of_samples_without_a_target_names_what_is_missing(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} scores samples without a target, and this set has none. Score a set"):
        PUBLIC_EVALUATORS[name].scores(counts((1, 2, 2), ref_ids=np.array([1])))


@pytest.mark.parametrize("name", PUBLIC_EVALUATORS)
def test_no_samples_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} has no samples to score"):
        PUBLIC_EVALUATORS[name].scores(counts())
