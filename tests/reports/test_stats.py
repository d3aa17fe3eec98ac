"""The bootstrap against independent computations, and its coverage on simulated data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.stats import Scores, cluster_sums, difference, draw_counts, holm, ratio_scores, resample


def test_cluster_sums_by_hand() -> None:
    sums = cluster_sums(np.array([7, 3, 7]), np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]))
    assert sums.tolist() == [[2.0, 20.0], [5.0, 50.0]]


def test_each_draw_has_as_many_images_as_the_split() -> None:
    counts = draw_counts(13, 50, seed=1)
    assert counts.shape == (50, 13)
    assert (counts.sum(axis=1) == 13).all()


def test_resampled_ratio_equals_a_loop_over_samples() -> None:
    """Independent: draw images one by one, gather their samples, divide the sums."""
    generator = np.random.default_rng(5)
    image = generator.integers(0, 6, 25)
    intersection, union = generator.integers(0, 50, 25), generator.integers(50, 90, 25)
    sums = cluster_sums(image, np.stack([intersection, union], axis=1).astype(float))
    scores = ratio_scores(sums[:, :1], sums[:, 1:], draws=40, seed=3)
    names = np.unique(image)
    counts = draw_counts(len(names), 40, seed=3)
    for draw in range(40):
        drawn = [name for name, times in zip(names, counts[draw], strict=True) for _ in range(times)]
        above = sum(int(intersection[image == name].sum()) for name in drawn)
        below = sum(int(union[image == name].sum()) for name in drawn)
        assert scores.draws_DR[draw, 0] == pytest.approx(above / below, rel=1e-12)
    assert scores.observed_R[0] == pytest.approx(intersection.sum() / union.sum())


def test_small_case_against_all_possible_draws() -> None:
    """Three images have 27 draws; the exact bootstrap distribution is known."""
    above, below = np.array([1.0, 5.0, 2.0]), np.array([4.0, 6.0, 10.0])
    picks = np.stack(np.meshgrid(*[range(3)] * 3), -1).reshape(-1, 3)
    exact = above[picks].sum(axis=1) / below[picks].sum(axis=1)
    scores = ratio_scores(above[:, None], below[:, None], draws=60_000, seed=2)
    for share in (0.1, 0.5, 0.9):
        level = np.quantile(exact, share) + 1e-9
        assert np.mean(scores.draws_DR[:, 0] <= level) == pytest.approx(np.mean(exact <= level), abs=0.01)


def test_pairing_takes_out_what_the_images_share() -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(0.5, 0.2, (300, 1))
    both = np.concatenate([difficulty, difficulty + 0.01 + generator.normal(0, 0.01, (300, 1))], axis=1)
    scores = ratio_scores(both, np.ones((300, 1)), draws=1000)
    found = difference(scores, [1], [0])
    assert 0.005 < found.low < found.observed < found.high < 0.015
    assert found.p_value < 0.01


def test_a_run_against_itself_is_no_difference() -> None:
    values = np.random.default_rng(1).random((40, 1))
    scores = ratio_scores(np.concatenate([values, values], axis=1), np.ones((40, 1)), draws=200)
    found = difference(scores, [0], [1])
    assert (found.observed, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_seeds_are_averaged() -> None:
    scores = Scores(observed_R=np.array([0.2, 0.4, 0.9]), draws_DR=np.tile([0.2, 0.4, 0.9], (100, 1)))
    assert difference(scores, [2], [0, 1]).observed == pytest.approx(0.6)


def test_all_masks_empty_scores_one() -> None:
    scores = ratio_scores(np.zeros((3, 1)), np.zeros((3, 1)), draws=10)
    assert scores.observed_R[0] == 1.0
    assert (scores.draws_DR == 1.0).all()


def test_chunks_and_seeds_are_reproducible(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(4).random((30, 2))
    assert np.array_equal(resample(sums, draws=100, seed=9), resample(sums, draws=100, seed=9))
    monkeypatch.setattr("reports.stats._CHUNK_ENTRIES", 300)
    chunked = resample(sums, draws=100, seed=9)
    assert chunked.shape == (100, 2)
    assert len(np.unique(chunked[:, 0])) > 90


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_holm_keeps_the_order_and_never_lowers(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(new >= old for new, old in zip(adjusted, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def simulated(generator: np.random.Generator, images: int, truth: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return intersections and unions per image of two correlated runs, 1 to 5 expressions an image, skewed sizes."""
    expressions = generator.integers(1, 6, images)
    image = np.repeat(np.arange(images), expressions)
    size = generator.lognormal(0.0, 0.8, images)[image]
    difficulty = generator.normal(0, 0.1, images)[image]
    above, below = [], []
    for mean in truth.values():
        iou = np.clip(mean + difficulty + generator.normal(0, 0.1, len(image)), 0, 1)
        union = size * (1.5 - 0.5 * iou)
        above.append(np.bincount(image, weights=iou * union, minlength=images))
        below.append(np.bincount(image, weights=union, minlength=images))
    return np.stack(above, axis=1), np.stack(below, axis=1)


def test_intervals_cover_the_truth_in_93_to_97_of_100_simulations() -> None:
    """1,000 simulated splits of 200 images; the truth is the mean over 400,000 images."""
    truth = {"a": 0.60, "b": 0.55}
    above, below = simulated(np.random.default_rng(99), 400_000, truth)
    oiou = above.sum(axis=0) / below.sum(axis=0)
    expected = oiou[0] - oiou[1]
    generator = np.random.default_rng(7)
    covered = 0
    for number in range(1000):
        above, below = simulated(generator, 200, truth)
        found = difference(ratio_scores(above, below, draws=500, seed=number), [0], [1])
        covered += found.low <= expected <= found.high
    assert 930 <= covered <= 970


def test_p_values_of_no_difference_are_below_five_percent_about_five_percent_of_the_time() -> None:
    generator = np.random.default_rng(11)
    rejected = 0
    for number in range(600):
        above, below = simulated(generator, 150, {"a": 0.6, "b": 0.6})
        rejected += difference(ratio_scores(above, below, draws=400, seed=number), [0], [1]).p_value < 0.05
    assert 0.03 <= rejected / 600 <= 0.075
