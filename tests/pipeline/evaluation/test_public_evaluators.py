"""Public evaluators: their counts, their rules on samples by hand, and bad input."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.public_evaluators.counts import MaskCounts, counts_of, in_groups
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS, public_evaluator
from pipeline.evaluation.public_evaluators.tables import who_measures_what
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
    found = counts_of(rows, PROTOCOLS["original"], at_input=PROTOCOLS["input"])
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


def test_r_refcocos_precision_compares_a_running_sum_and_the_right_one_stands_next_to_it() -> None:
    """Two expressions of one ref with IoU 0.3 each: their sum is 0.6, so the second one counts as above 0.5."""
    two = counts((3, 10, 10), (3, 10, 10), (0, 0, 0), ref_ids=np.array([4, 4, 4]))
    scores = PUBLIC_EVALUATORS["r_refcoco"].scores(two)
    assert (scores["P@0.5"], scores["P@0.5 of each expression"]) == (50.0, 0.0)
    assert (scores["r"], scores["mIoU"]) == (100.0, pytest.approx(30.0, abs=1e-5))


def test_rela_takes_the_intersection_away_for_a_wrong_no_target() -> None:
    answers = np.array([True, False, True, False])
    four = counts((5, 5, 5), (5, 10, 10), (0, 4, 0), (0, 6, 0), predicted_no_target=answers)
    scores = PUBLIC_EVALUATORS["rela"].scores(four)
    assert scores["gIoU"] == 100.0 * (0.0 + 0.5 + 1.0 + 0.0) / 4
    assert scores["cIoU"] == 5 * 100.0 / (5 + 10 + 0 + 6)
    assert (scores["T_acc"], scores["N_acc"]) == (0.5, 0.5)


def test_gsva_keeps_the_intersection_of_a_wrong_no_target() -> None:
    scores = PUBLIC_EVALUATORS["gsva_gres"].scores(
        counts((5, 5, 5), (0, 4, 0), predicted_no_target=np.array([True, False]))
    )
    assert scores["ciou"] == pytest.approx(5 / 9)
    assert (scores["T_acc"], scores["N_acc"]) == (0.0, 0.0)


def test_cgf1_drops_answers_below_half_a_confidence() -> None:
    """Of two right masks one is dropped: a miss, so half of the pairs are found and nothing is wrong."""
    three = counts((8, 8, 8), (8, 8, 8), (0, 0, 0), confidence=np.array([0.9, 0.49, 1.0]))
    scores = PUBLIC_EVALUATORS["sam3_cgf1"].scores(three)
    assert scores["cgF1_eval_segm_recall@0.5"] == pytest.approx(0.5, abs=1e-4)
    assert scores["cgF1_eval_segm_positive_micro_precision"] == pytest.approx(1.0, abs=1e-3)
    assert scores["cgF1_eval_segm_IL_FPR"] == 0.0


def test_scores_do_not_change_with_the_threads_of_torch() -> None:
    """torch splits sums of more than 32,768 numbers among its threads."""
    random = np.random.default_rng(0)
    target = random.integers(1, 10**6, size=70_000)
    both = (target * random.random(70_000)).astype(np.int64)
    many = MaskCounts(intersection=both, union=target, target_area=target)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(PUBLIC_EVALUATORS["cris"].scores(many))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_every_right_value_stands_next_to_the_wrong_one() -> None:
    some = counts((3, 10, 10), (0, 0, 0), ref_ids=np.array([1, 1]), image_ids=np.array([1, 1]))
    for evaluator in PUBLIC_EVALUATORS.values():
        names = set(evaluator.scores(some))
        for fault in evaluator.faults:
            assert {*fault.scores, *(name for pair in fault.right for name in pair)} <= names, evaluator.name


def test_the_page_has_the_table_of_the_registry() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "protocols.md"
    _, rest = page.read_text().split("<!-- from here: sharedris score evaluators -->\n")
    assert rest.split("\n<!-- to here -->")[0] == who_measures_what()


def test_an_evaluators_lines_have_its_rule_and_its_faults() -> None:
    evaluator = PUBLIC_EVALUATORS["maskris"]
    lines = evaluator.lines(evaluator.scores(counts((1, 2, 2))))
    assert lines[0].startswith("maskris (MaskRIS, percent): Mean IoU 50.00, precision@0.5 100.00")
    assert lines[2] == (
        "  known fault: sums of pixels in float32, which are rounded above 2^24 pixels; right: overall IoU in integers"
    )
