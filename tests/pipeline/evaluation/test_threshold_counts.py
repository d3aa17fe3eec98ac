"""Counts over thresholds are those of the per-sample rows at each of them, to the pixel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.config import EvaluationConfig
from pipeline.evaluation import check
from pipeline.evaluation.evaluate import score_sample
from pipeline.evaluation.protocols import ORIGINAL, PROTOCOLS, Protocol
from pipeline.evaluation.threshold_counts import (
    COUNTS,
    GRID,
    count_columns,
    differing_samples,
    threshold_rows,
    thresholds_with,
)
from sharedris.errors import InputError
from tests.pipeline.evaluation.test_sample_rows import sample_of

STRICT = Protocol(
    name="strict",
    version=1,
    rule="a threshold of at least a half",
    scored_at="original",
    binarize=lambda map_HW, size, threshold: ORIGINAL.binarize(map_HW, size, max(threshold, 0.5)),
)


def rows_of(thresholds: tuple[float, ...], samples: int = 3, own: float = 0.35) -> pd.DataFrame:
    """Rows of samples whose maps have values on the grid itself, where > and >= differ."""
    generator = np.random.default_rng(0)
    rows = []
    for index in range(samples):
        map_HW = torch.from_numpy(generator.choice([0.0, *GRID, 0.35, 0.351, 1.0], (6, 6)).astype(np.float32))
        original = (generator.random((13, 17)) < 0.4).astype(np.uint8)
        at_input = torch.from_numpy((generator.random((12, 12)) < 0.4).astype(np.uint8))
        sample = dataclasses.replace(sample_of(original), index=index)
        rows.append(score_sample(map_HW, at_input, sample, EvaluationConfig(threshold=own), thresholds=thresholds))
    return pd.DataFrame(rows)


def test_counts_are_those_of_the_rows_at_each_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "strict", STRICT)
    thresholds = thresholds_with(0.333)
    assert len(thresholds) == 20
    assert thresholds_with(0.35) == GRID
    counts = threshold_rows(rows_of(thresholds), thresholds)
    assert counts["threshold"].is_monotonic_increasing
    assert count_columns()[-2:] == ["intersection_strict", "union_strict"]
    for threshold in thresholds:
        at_threshold = rows_of((), own=threshold)
        assert COUNTS not in at_threshold
        assert differing_samples(counts, at_threshold, threshold) == 0
    assert differing_samples(counts, rows_of((), own=0.5), 0.35) == 3
    assert differing_samples(counts, rows_of((), samples=2), 0.35) == 3


def test_a_resize_of_another_rule_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = dataclasses.replace(ORIGINAL, name="strict", binarize=STRICT.binarize)
    monkeypatch.setitem(PROTOCOLS, "strict", broken)
    with pytest.raises(InputError, match=r"strict.*binarize at 0.05 gives another mask than resize"):
        check.check_scoring()
    monkeypatch.setitem(PROTOCOLS, "strict", dataclasses.replace(broken, resize=None))
    check.check_scoring()
