"""Scores over the threshold: the recorded score at the runs' own, the best one, and what another would have gained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import synthetic_runs

from pipeline.evaluation.threshold_counts import GRID, thresholds_path
from reports.load import load_runs
from reports.run_selection import Wanted, select_runs
from reports.threshold_curve import Counts, curves_of, draw_curves, read_curves

VAL = "toyplus_unc/val"


def test_the_best_threshold_and_what_the_own_one_loses() -> None:
    """By hand: one object of 10 pixels in each of 40 images; 6 of them are found at 0.35, and 8 at 0.6."""
    found_T = np.where(np.isclose(GRID, 0.6), 8, np.where(np.isclose(GRID, 0.35), 6, 5))
    intersection = np.broadcast_to(found_T[None, :, None], (40, len(GRID), 2))
    counts = Counts(
        thresholds=GRID, image_N=np.arange(40), intersection_NTS=intersection, union_NTS=np.full(intersection.shape, 10)
    )
    for curve in curves_of(counts, 0.35).values():
        assert (curve.own, curve.best) == (0.35, 0.6)
        assert curve.levels[GRID.index(0.35)].observed == pytest.approx(0.6)
        gain = curve.gain
        assert [gain.observed, gain.low, gain.high] == pytest.approx([0.2, 0.2, 0.2])


def test_at_their_own_threshold_curves_have_the_recorded_scores(tmp_path: Path) -> None:
    run_ids = synthetic_runs.write_runs(tmp_path, seeds=(0, 1))
    for run_id in run_ids[:5]:
        synthetic_runs.write_thresholds(tmp_path, run_id, VAL, best=0.35)
    for run_id in run_ids[5:6]:
        synthetic_runs.write_thresholds(tmp_path, run_id, VAL, best=0.6)
    thresholds_path(tmp_path, run_ids[4], VAL).write_bytes(b"damaged")
    runs, problems = load_runs(tmp_path), list[str]()
    choice = select_runs(runs.records, runs.claims, list(synthetic_runs.FPN_VARIANTS), Wanted())
    found = read_curves(runs, choice, problems)
    assert len(problems) == 1
    assert problems[0].startswith(f"threshold curve without {run_ids[4]}")
    assert list(found) == list(synthetic_runs.FPN_VARIANTS)[:3]
    for variant in list(found)[:2]:
        rows = choice.rows[choice.rows["variant"] == variant]
        for name, curve in found[variant].items():
            assert curve.levels[GRID.index(0.35)].observed == pytest.approx(rows[name.lower()].mean(), abs=1e-3)
            assert all(each.low <= each.observed <= each.high for each in curve.levels)
            assert curve.best == 0.35
    assert found[synthetic_runs.THREE]["oIoU"].best == 0.6
    assert found[synthetic_runs.THREE]["oIoU"].gain.low > 0

    figure = draw_curves(found, choice)
    assert figure is not None
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert labels[0].endswith("best at its own 0.35")
    assert "best at 0.6, +" in labels[2]
    assert draw_curves({}, choice) is None
    hostile = choice.rows.assign(config_json="[")
    assert read_curves(runs, dataclasses.replace(choice, rows=hostile), []) == {}
