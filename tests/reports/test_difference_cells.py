"""Cells of the difference tables by hand: boundaries, signs, units, and the split that is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs
from synthetic_runs import FULL, NO_FPN

from pipeline.evaluation.metrics import METRICS
from reports.build import build_one
from reports.cost_cells import CostBook
from reports.load import load_costs, load_runs
from reports.paper import PROPOSED
from reports.run_selection import Wanted
from reports.significance import Comparison, _cells, build_protocols, comparisons, p_text
from reports.stats import Difference, Scores, interval, ratio_scores
from reports.tables import Built


@pytest.fixture
def built(runs_root: Path) -> Built:
    return build_one("VII-a", load_runs(runs_root), CostBook(load_costs(runs_root)[0]), Wanted())


def test_a_p_value_at_the_level_is_not_bold_and_numbers_are_in_percent(built: Built) -> None:
    found = Difference(observed=0.02, low=0.01, high=0.03, p_value=0.0125)
    cells = _cells(built, Comparison(this=3, that=0), METRICS["oiou"], found, 0.05)
    assert [cell.text for cell in cells[1:]] == ["+2.00", "[+1.00, +3.00]", "0.013", "0.050"]
    assert [cell.value for cell in cells[1:]] == pytest.approx([2.0, 1.0, 0.0125, 0.05])
    assert cells[4].rank == 0
    assert _cells(built, Comparison(this=3, that=0), METRICS["oiou"], found, 0.0499)[4].rank == 1


def test_the_mean_over_seeds_has_the_sign_of_the_difference(built: Built, runs_root: Path) -> None:
    found = Difference(observed=0.02, low=0.01, high=0.03, p_value=0.01)
    detail = _cells(built, Comparison(this=3, that=0), METRICS["oiou"], found, 0.01)[1].detail
    records = load_runs(runs_root).records
    of = records[records["protocol"] == "original"].groupby("variant")["oiou"].mean()
    assert f"mean {100 * (of[FULL] - of[NO_FPN]):+.2f}," in detail.replace("−", "-")


def test_a_proposed_row_that_comes_first_is_compared_once() -> None:
    published = pd.DataFrame({"part": ["a"] * 3, "variant": [PROPOSED, "x", "y"]})
    assert comparisons(published) == [Comparison(this=1, that=0), Comparison(this=2, that=0)]


def test_p_values_at_the_resolution_are_printed() -> None:
    assert [p_text(value) for value in (0.001, 0.00099, 1.0)] == ["0.001", "<0.001", "1.000"]


def test_protocols_are_those_of_one_split(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path, splits=("toyplus_unc/val", "toyplus_unc/testA"))
    runs = load_runs(tmp_path)
    built = build_one("VII-a", runs, CostBook(load_costs(tmp_path)[0]), Wanted())
    row = build_protocols(built, runs).rows[0]
    mine = runs.records[(runs.records["variant"] == NO_FPN) & (runs.records["split"] == built.choice.split)]
    expected = [100 * mine[mine["protocol"] == name]["oiou"].iloc[0] for name in ("paper", "original", "input")]
    assert [cell.value for cell in row.cells[1:4]] == pytest.approx(expected, abs=0.006)


def test_the_interval_of_a_run_leaves_out_the_same_share_at_both_ends() -> None:
    scores = Scores(observed_R=np.array([0.0, 0.5]), draws_DR=np.stack([np.zeros(201), np.linspace(0, 1, 201)], axis=1))
    assert interval(scores, 1) == pytest.approx((0.025, 0.975))
    assert interval(scores, 1, level=0.5) == pytest.approx((0.25, 0.75))


def test_a_mean_over_nobody_is_what_the_caller_names() -> None:
    scores = ratio_scores(np.zeros((3, 1)), np.zeros((3, 1)), draws=5, nothing=np.nan)
    assert np.isnan(scores.observed_R).all()
    assert np.isnan(scores.draws_DR).all()
