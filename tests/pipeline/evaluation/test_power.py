"""The smallest visible difference: by simulation, by hand, and its inverses."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.power import ASSUMED, Variation, influence, measure

ONLY_IMAGES = Variation(image=0.2, source="test")


def test_images_only_is_the_textbook_number() -> None:
    """2.8 standard errors; here t with 100 degrees of freedom."""
    assert ONLY_IMAGES.visible(images=400, seeds=1) == pytest.approx((1.984 + 0.845) * 0.01, abs=1e-5)


def test_a_difference_of_that_size_is_found_in_80_of_100_sweeps() -> None:
    """Independent of the formula: many made-up sweeps of 3 seeds, tested by Student's t test of their scores."""
    training, seeds = 0.01, 3
    wanted = Variation(image=0.0001, training=training, source="test").visible(images=100, seeds=seeds)
    generator = np.random.default_rng(3)
    first, second = generator.normal(0, training, (2, 4000, seeds))
    error = ((first.var(axis=1, ddof=1) + second.var(axis=1, ddof=1)) / seeds) ** 0.5
    found = abs(first.mean(axis=1) + wanted - second.mean(axis=1)) > 2.776 * error  # t(0.975), 4 degrees
    assert 0.75 <= found.mean() <= 0.85


def test_seeds_and_images_for_a_difference_are_the_smallest_that_do() -> None:
    variation = Variation(image=0.2, crossed=0.15, training=0.005, source="test")
    seeds = variation.seeds_for(0.015, images=1500)
    assert seeds is not None
    assert variation.visible(images=1500, seeds=seeds) <= 0.015 < variation.visible(images=1500, seeds=seeds - 1)
    images = variation.images_for(0.02, seeds=5)
    assert images is not None
    assert variation.visible(images=images, seeds=5) <= 0.02 < variation.visible(images=images - 1, seeds=5)


def test_no_number_of_images_makes_up_for_trainings() -> None:
    variation = Variation(image=0.2, training=0.05, source="test")
    assert variation.images_for(0.01, seeds=3) is None
    assert variation.seeds_for(0.0001, images=10) is None
    both = variation.both_for(0.04)
    assert both is not None
    assert variation.visible(seeds=both[0], images=both[1]) <= 0.04
    assert variation.needs(0.04, images=10, seeds=3) == f"{both[0]} seeds and {both[1]:,} images"
    assert "more than 50 seeds" in variation.needs(0.0001, images=10, seeds=3)


def test_variation_is_measured_from_scores() -> None:
    """Rows of 4 seeds whose images, trainings and their crossing vary by known amounts."""
    generator = np.random.default_rng(0)
    images, runs = 4000, 40
    shared = generator.normal(0.5, 0.3, (images, 1))
    training = np.tile([0.0, 0.02, 0.04, 0.06], runs // 4)
    scores = shared + training + generator.normal(0, 0.1, (images, runs))
    moved, sentence = influence(np.arange(images), scores, np.ones((images, 1)))
    rows = [list(range(start, start + 4)) for start in range(0, runs, 4)]
    found = measure(moved, scores.mean(axis=0), rows, "test")
    assert found is not None
    assert np.isnan(sentence).all()
    assert found.image == pytest.approx(0.1 * 2**0.5, rel=0.02)
    assert found.crossed == pytest.approx(0.1 * 2**0.5, rel=0.02)
    assert found.training == pytest.approx(np.std([0, 0.02, 0.04, 0.06], ddof=1), rel=0.05)
    assert measure(moved, scores.mean(axis=0), rows[:1], "test") is None


def test_influence_splits_images_and_sentences() -> None:
    """The variance of a ratio over images against 4,000 drawn data sets; that of sentences against their deviation."""
    generator = np.random.default_rng(1)
    image = np.repeat(np.arange(500), 4)
    above = (generator.normal(0.5, 0.2, 500)[image] + generator.normal(0, 0.3, 2000))[:, None]
    moved, sentence = influence(image, above, np.ones((2000, 1)))
    assert (moved**2).sum() == pytest.approx(0.2**2 / 500 + 0.3**2 / 2000, rel=0.15)
    assert sentence[0] == pytest.approx(0.3**2 / 2000, rel=0.1)


def test_the_assumption_names_itself() -> None:
    assert "assumed" in ASSUMED.source
