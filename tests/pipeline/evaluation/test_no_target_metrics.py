"""N-acc, T-acc, gIoU and cIoU against a plain loop by ReLA's rules; null where every sample has a target."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.metrics import METRICS, Scores, metrics_of, score, shown_metrics
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.public_evaluators.counts import MaskCounts
from pipeline.evaluation.public_evaluators.rela import RELA
from tests.pipeline.evaluation.test_metrics import frame, random_masks

NAMES = ("n_acc", "t_acc", "giou", "ciou")
Masks = list[tuple[np.ndarray, np.ndarray]]


def scores_of(masks: Masks) -> Scores:
    return score(frame(masks), PROTOCOLS["original"], input_size=8)


def by_loop(masks: Masks) -> dict[str, float]:
    """The rules of ReLA's evaluator, with "judged to have no target" read as an empty mask."""
    right = {"n_acc": [0, 0], "t_acc": [0, 0]}
    ious, intersections, unions = [], 0, 0
    for mask, target in masks:
        both, either = int((mask & target).sum()), int((mask | target).sum())
        kind = "t_acc" if target.any() else "n_acc"
        right[kind][0] += bool(mask.any()) == bool(target.any())
        right[kind][1] += 1
        if target.any():
            ious.append(both / either)
            intersections, unions = intersections + both, unions + either
        else:
            ious.append(0.0 if mask.any() else 1.0)
            unions += either
    shares = {name: hits / of for name, (hits, of) in right.items()}
    return {**shares, "giou": sum(ious) / len(ious), "ciou": intersections / unions}


def test_scores_equal_a_plain_loop() -> None:
    masks = random_masks(600, seed=4)
    expected, got = by_loop(masks), scores_of(masks).values
    assert 0 < expected["n_acc"] < 1
    assert 0 < expected["t_acc"] < 1
    assert {name: got[name] for name in NAMES} == pytest.approx(expected, abs=1e-12)
    assert got["ciou"] == got["oiou"]
    assert got["giou"] == pytest.approx(got["miou"] or 0.0, abs=1e-12)


@pytest.mark.parametrize("without", [0, 3])
def test_all_four_or_none(without: int) -> None:
    masks = [(mask, np.ones_like(mask)) for mask, _ in random_masks(20, seed=2)]
    masks += [(np.zeros((2, 3), bool), np.zeros((2, 3), bool))] * without
    values = scores_of(masks).values
    assert [values[name] is not None for name in NAMES] == [without > 0] * 4
    assert values["n_acc"] == (1.0 if without else None)
    record = pd.DataFrame([{**{name: values[name] for name in METRICS}}])
    shown = [metric.name for metric in shown_metrics(record, "main", "detail")]
    assert [name in shown for name in NAMES] == [without > 0] * 4
    assert shown_metrics(pd.DataFrame(), "main") == metrics_of("main")


def test_accuracies_stand_below_one_heading() -> None:
    assert METRICS["n_acc"].group == METRICS["t_acc"].group != ""
    assert all(METRICS[name].no_target for name in NAMES)


def test_a_target_that_vanishes_at_input_size_is_still_one() -> None:
    """One pixel of the original that nearest resizing drops: an empty mask is not right then."""
    rows = frame([(np.zeros((4, 4), bool), np.eye(4, dtype=bool)), (np.zeros((4, 4), bool), np.zeros((4, 4), bool))])
    rows["target_area_input"] = 0
    rows["union_input"] = 0
    values = score(rows, PROTOCOLS["input"], input_size=2).values
    assert [values[name] for name in NAMES] == [1.0, 0.0, 0.5, 1.0]
    assert values["miou"] == 1.0
    assert not any(math.isnan(value or 0.0) for value in values.values())


@pytest.mark.parametrize("protocol", ["original", "input"])
def test_scores_are_those_of_relas_evaluator_where_no_head_answers(protocol: str) -> None:
    """The reproduction of ReLA's own code, given masks alone; a target may vanish at the input size there."""
    rows = frame(random_masks(400, seed=7))
    if protocol == "input":
        rows.loc[rows.index[::9], ["target_area_input", "intersection_input", "union_input"]] = 0
    counts = MaskCounts(
        intersection=rows[f"intersection_{protocol}"].to_numpy(),
        union=rows[f"union_{protocol}"].to_numpy(),
        target_area=rows[f"target_area_{protocol}"].to_numpy(),
        no_target=(rows["target_area_original"] == 0).to_numpy(),
    )
    theirs, ours = RELA.formula(counts), score(rows, PROTOCOLS[protocol], input_size=8).values
    assert ours["n_acc"] == pytest.approx(theirs["N_acc"], abs=1e-12)
    assert ours["t_acc"] == pytest.approx(theirs["T_acc"], abs=1e-12)
    assert 100 * (ours["giou"] or 0.0) == pytest.approx(theirs["gIoU"], abs=1e-9)
    assert 100 * (ours["ciou"] or 0.0) == pytest.approx(theirs["cIoU"], abs=1e-9)
