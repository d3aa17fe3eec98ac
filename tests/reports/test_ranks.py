"""Ranks with their intervals, marks of what is certain, and the split of variation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic_runs
from synthetic_runs import FULL, NO_FPN, THREE, TWO

from reports.build import Report, build_tables
from reports.layout import Table
from reports.ranks import MAY_BE_BEST, ONE_SEED, SOME_NOT_RUN, SURE, rank_rows
from reports.run_selection import Wanted
from reports.stats import ratio_scores


def report_of(root: Path, qualities: list[float], seeds: tuple[int, ...]) -> Report:
    variants = dict(zip((NO_FPN, TWO, THREE, FULL), qualities, strict=True))
    synthetic_runs.write_runs(root, variants, seeds=seeds, samples=300, images=100)
    return build_tables(root, ["VII-a"], Wanted(), statistics=True, draws=300)


def column(table: Table, heading: str, group: str) -> list[str]:
    place = next(n for n, each in enumerate(table.columns) if (each.heading, each.group) == (heading, group))
    return [row.cells[place].text for row in table.rows]


def marks(table: Table, group: str) -> list[tuple[int, bool]]:
    place = next(n for n, each in enumerate(table.columns) if (each.heading, each.group) == ("here", group))
    return [(row.cells[place].rank, MAY_BE_BEST in row.cells[place].text) for row in table.rows]


def test_ranks_by_hand() -> None:
    """The third row is far ahead of two that cannot be told apart."""
    generator = np.random.default_rng(0)
    image = generator.normal(0.5, 0.1, (200, 1))
    runs = image + np.repeat([0.0, 0.001, 0.2], 3) + generator.normal(0, 0.05, (200, 9))
    scores = ratio_scores(runs, np.ones((200, 1)), draws=500)
    rows = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert [each.text for each in rank_rows(scores, rows, better="max")] == ["2 to 3", "2 to 3", "1"]
    assert [each.text for each in rank_rows(scores, rows, better="min")] == ["1 to 2", "1 to 2", "3"]
    chances = [each.improvement for each in rank_rows(scores, rows, better="max")]
    assert chances[0] is None
    assert 0.2 < (chances[1] or 0) < 0.8
    assert chances[2] == 1.0


def test_a_certain_rank_is_bold_and_another_has_the_sign(tmp_path: Path) -> None:
    report = report_of(tmp_path, [-0.2, -0.2, 0.0, 0.2], (0, 1, 2))
    table, _, ranks, *_ = report.tables
    assert marks(table, "mIoU") == [(0, False), (0, False), (2, False), (1, False)]
    assert column(ranks, "rank", "mIoU") == ["3 to 4", "3 to 4", "2", "1"]
    assert table.notes[0] == SURE
    assert [row.cells[-2].rank for row in table.rows] == [0, 0, 2, 1], "the paper's column keeps its marks"


def test_equal_rows_are_all_possible_winners(tmp_path: Path) -> None:
    table = report_of(tmp_path, [0.0, 0.0, 0.0, 0.0], (0, 1, 2)).tables[0]
    assert marks(table, "mIoU") == [(0, True)] * 4


def test_nothing_is_bold_among_rows_of_which_some_were_not_run(tmp_path: Path) -> None:
    """VII (b) and VIII share rows with VII (a): two of four rows, and one of four."""
    report_of(tmp_path, [-0.2, -0.2, 0.0, 0.2], (0, 1, 2))
    two, one = (build_tables(tmp_path, [name], Wanted(), statistics=True).tables[0] for name in ("VII-b", "VIII-a"))
    assert [mark for mark in marks(two, "mIoU") if mark != (0, False)] == [(0, True)]
    assert set(marks(one, "mIoU")) == {(0, False)}
    assert two.notes[0] == one.notes[0] == SOME_NOT_RUN


def test_one_seed_makes_nothing_bold(tmp_path: Path) -> None:
    table, _, ranks, variation, _ = report_of(tmp_path, [-0.2, -0.2, 0.0, 0.2], (0,)).tables
    assert marks(table, "mIoU") == [(0, False), (0, False), (0, False), (0, True)]
    assert table.notes[0] == ONE_SEED
    assert "1 seed" in table.notes[-1]
    assert "run 3 seeds" in table.notes[-1]
    assert column(ranks, "rank", "mIoU")[3] == "1"
    assert column(variation, "training", "mIoU") == ["one seed"] * 4


def test_several_seeds_say_what_a_difference_of_one_point_needs(tmp_path: Path) -> None:
    table, *_, variation, _ = report_of(tmp_path, [-0.02, -0.01, 0.0, 0.01], (0, 1, 2)).tables
    assert "images, 3 seeds)" in table.notes[-1]
    assert "1 point: " in table.notes[-1]
    assert variation.notes == table.notes[-1:]


def test_variation_has_the_deviations_of_the_made_up_rows(tmp_path: Path) -> None:
    """Made with a deviation of 0.15 between images and of 0.12 between samples."""
    variation = report_of(tmp_path, [0.0, 0.0, 0.0, 0.0], (0, 1, 2)).tables[3]
    image = [float(text) for text in column(variation, "image", "mIoU")]
    sentence = [float(text) for text in column(variation, "sentence", "mIoU")]
    assert np.mean(sentence) == pytest.approx(100 * 0.12 / 300**0.5, rel=0.2)
    assert np.mean(image) == pytest.approx(100 * 0.15 / 75**0.5, rel=0.35), "images have 1 to 8 samples"
