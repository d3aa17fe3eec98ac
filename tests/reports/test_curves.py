"""P@X over X with its band, and IoU by words seen in training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_runs

from pipeline.records import RECORD_SCHEMA, SAMPLE_SCHEMA, read_table, record_path, samples_path, write_table
from reports.build import build_one
from reports.cost_cells import CostBook
from reports.load import load_costs, load_runs
from reports.precision_curve import LEVELS, draw_precisions, precision_levels, read_precisions
from reports.registry import FIGURES, ReportData
from reports.run_selection import RunSelection, Wanted, select_runs
from reports.seen_words import NAMES, by_seen_words, count_words, words_of


def chosen(root: Path) -> RunSelection:
    return build_one("VII-a", load_runs(root), CostBook(load_costs(root)[0]), Wanted()).choice


def test_levels_are_those_of_the_records_and_lie_in_their_band(runs_root: Path) -> None:
    choice, problems = chosen(runs_root), list[str]()
    found = read_precisions(load_runs(runs_root), choice, problems)
    assert problems == []
    for variant, levels in found.items():
        rows = choice.rows[choice.rows["variant"] == variant]
        assert levels[LEVELS.index(0.5)].observed == pytest.approx(rows["precision_at_50"].mean())
        assert all(each.low <= each.observed <= each.high for each in levels)
    assert draw_precisions(found, choice) is not None
    assert draw_precisions({}, choice) is None


def test_precision_falls_with_the_level() -> None:
    iou = np.random.default_rng(0).random((200, 3))
    shares = [each.observed for each in precision_levels(np.arange(200), iou)]
    assert shares == sorted(shares, reverse=True)
    assert shares[9] == pytest.approx((iou > 0.5).mean())


def test_a_run_without_samples_is_told(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path)
    for path in tmp_path.glob("samples/*001001/*/*.parquet"):
        path.unlink()
    problems: list[str] = []
    assert len(read_precisions(load_runs(tmp_path), chosen(tmp_path), problems)) == 3
    assert len(problems) == 1


def test_words_are_counted_in_the_train_split(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    pq.write_table(
        pa.table({"expressions": [["Red circle.", "the red star"], ["star"]]}), tmp_path / "set/train.parquet"
    )
    manifest = tmp_path / "set" / "dataset.json"
    manifest.write_text("{}", encoding="utf-8")
    assert count_words(tmp_path, ["set"]) == Counter({"red": 2, "star": 2, "circle": 1, "the": 1})
    assert count_words(tmp_path, ["set", "other"]) is None
    manifest.write_text('{"file_digests": {"train": "of another file"}}', encoding="utf-8")
    assert count_words(tmp_path, ["set"]) is None
    assert words_of("The man's LEFT-most hat, no_2!") == ["the", "man's", "left", "most", "hat", "no", "2"]


def test_the_rarest_word_decides(runs_root: Path) -> None:
    choice = chosen(runs_root)
    frame = pd.DataFrame(
        {"image_id": np.arange(8), "score of seed 0": np.linspace(0, 1, 8), "expression": ["red star", "red kite"] * 4}
    )
    figure = by_seen_words({"x": frame}, choice, Counter({"red": 200, "star": 12}))
    assert figure is not None
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == [f"{NAMES[0]}\nn=4", f"{NAMES[2]}\nn=4"]
    assert by_seen_words({"x": frame}, choice, None) is None


def test_boundary_iou_is_drawn_only_where_rows_have_it(tmp_path: Path) -> None:
    run_ids = synthetic_runs.write_runs(tmp_path)
    path = samples_path(tmp_path, run_ids[0], "toyplus_unc/val")
    rows = read_table(path, SAMPLE_SCHEMA).drop(columns="schema_version")

    def data() -> ReportData:
        runs = load_runs(tmp_path)
        choice = select_runs(runs.records, runs.claims, list(synthetic_runs.FPN_VARIANTS), Wanted())
        return ReportData(runs=runs, choice=choice, costs=CostBook(load_costs(tmp_path)[0]))

    assert FIGURES["boundary-iou-by-size"].draw(data()) is None
    write_table(path, rows.assign(boundary_iou_original=rows["iou_original"] / 2), SAMPLE_SCHEMA)
    record = read_table(record_path(tmp_path, run_ids[0]), RECORD_SCHEMA).drop(columns="schema_version")
    write_table(record_path(tmp_path, run_ids[0]), record.assign(boundary_iou=0.25), RECORD_SCHEMA)
    shown = data()
    figure = FIGURES["boundary-iou-by-size"].draw(shown)
    assert figure is not None
    assert figure.axes[0].get_ylabel() == "mean boundary IoU (%), 95 % interval"
    assert len(figure.axes[0].get_legend_handles_labels()[1]) == 1
    assert len(shown.problems) == 3
    assert all("rescore RUN adds them" in problem for problem in shown.problems)
