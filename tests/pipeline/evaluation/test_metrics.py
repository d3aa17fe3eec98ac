"""Scores against an independent NumPy computation over whole masks."""

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.evaluate import count_pixels
from pipeline.evaluation.metrics import PRECISION_THRESHOLDS, score
from pipeline.evaluation.protocols import PROTOCOLS


def random_masks(count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        shape = rng.integers(1, 12, size=2)
        density = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], size=2)
        masks.append((rng.random(shape) < density[0], rng.random(shape) < density[1]))
    return masks


def frame(masks: list[tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    rows = []
    for index, (mask, target) in enumerate(masks):
        intersection, union = count_pixels(mask, target)
        row = {
            "index": index,
            "image_id": index // 3,
            "height": mask.shape[0],
            "width": mask.shape[1],
            "target_area_original": int(target.sum()),
            "target_area_input": int(target.sum()),
        }
        for name in PROTOCOLS:
            row |= {f"intersection_{name}": intersection, f"union_{name}": union}
        rows.append(row)
    return pd.DataFrame(rows)


def plain_scores(masks: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """The definitions of the design page, written out with sets of pixels and no shortcut."""
    ious, intersections, unions = [], 0, 0
    for mask, target in masks:
        predicted = set(zip(*np.nonzero(mask), strict=True))
        true = set(zip(*np.nonzero(target), strict=True))
        both, either = len(predicted & true), len(predicted | true)
        ious.append(both / either if either else 1.0)
        intersections, unions = intersections + both, unions + either
    scores = {"oiou": intersections / unions, "miou": sum(ious) / len(ious)}
    return scores | {f"p{level}": sum(value > level for value in ious) / len(ious) for level in PRECISION_THRESHOLDS}


def test_scores_equal_plain_numpy_on_1000_cases_with_empty_masks() -> None:
    masks = random_masks(1000, seed=1)
    empty = sum(not mask.any() and not target.any() for mask, target in masks)
    assert empty > 10, "the cases must hold empty unions"
    expected = plain_scores(masks)
    scores = score(frame(masks), PROTOCOLS["original"], input_size=8)
    assert scores.values["oiou"] == pytest.approx(expected["oiou"], abs=1e-15)
    assert scores.values["miou"] == pytest.approx(expected["miou"], abs=1e-12)
    assert scores.empty_unions == empty
    for level in PRECISION_THRESHOLDS:
        assert scores.values[f"precision_at_{round(100 * level)}"] == pytest.approx(expected[f"p{level}"], abs=1e-15)


def test_scores_do_not_depend_on_the_order_of_rows() -> None:
    rows = frame(random_masks(200, seed=2))
    shuffled = rows.sample(frac=1.0, random_state=0)
    assert score(rows, PROTOCOLS["paper"], input_size=8) == score(shuffled, PROTOCOLS["paper"], input_size=8)


def test_trivial_answers_are_scored_as_masks_would_be() -> None:
    masks = random_masks(300, seed=3)
    scores = score(frame(masks), PROTOCOLS["original"], input_size=8)
    nothing = plain_scores([(np.zeros_like(target), target) for _, target in masks])
    everything = plain_scores([(np.ones_like(target), target) for _, target in masks])
    assert scores.values["all_background_miou"] == pytest.approx(nothing["miou"], abs=1e-12)
    assert scores.values["all_image_oiou"] == pytest.approx(everything["oiou"], abs=1e-12)
    assert scores.values["all_image_miou"] == pytest.approx(everything["miou"], abs=1e-12)


@pytest.mark.parametrize("damage", ["missing", "twice", "none"])
def test_a_sample_that_is_missing_or_counted_twice_is_an_error(damage: str) -> None:
    rows = frame(random_masks(5, seed=4))
    broken = {
        "missing": rows.drop(index=2),
        "twice": pd.concat([rows, rows.iloc[[2]]]),
        "none": rows.iloc[:0],
    }[damage]
    with pytest.raises(ValueError, match="exactly once"):
        score(broken, PROTOCOLS["original"], input_size=8)
