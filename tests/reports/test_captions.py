"""Captions print what preparation left out of the sets behind a table."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from reports.captions import _counts, _selection, scores_by_their_code
from reports.run_selection import RunSelection


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([None, None], None),
        ([json.dumps({"mine": {"empty mask": 3}}), None], "mine: 3 x empty mask"),
        (
            [json.dumps({"b": {"no words": 1, "empty mask": 2}}), json.dumps({"a": {"missing image": 4}})],
            "a: 4 x missing image; b: 2 x empty mask, 1 x no words",
        ),
    ],
)
def test_refs_that_were_left_out_are_counted(texts: list[str | None], expected: str | None) -> None:
    rows = pd.DataFrame({"empty_unions": 0, "skipped": 0, "skipped_refs_json": texts})
    lines = [f"Left out when the sets were prepared: {expected}."] if expected else []
    assert _counts(rows)[1:] == lines
    assert _counts(rows.drop(columns="skipped_refs_json"))[1:] == []


def test_the_selected_checkpoint_is_named() -> None:
    chosen = pd.Series({"config_json": json.dumps({"train": {"checkpoint_selection": "best:toy_unc/val/oiou"}})})
    assert _selection(chosen) == ", scored at the epoch with the best oiou on toy_unc/val"
    assert _selection(pd.Series({"config_json": json.dumps({"train": {}})})) == ""


def test_cut_sentences_are_counted() -> None:
    rows = pd.DataFrame({"empty_unions": 0, "skipped": 0, "cut_sentences": [None, 7, 5]})
    assert _counts(rows)[1:] == ["Sentences longer than T, which the model reads without their end: 7."]
    assert _counts(rows.assign(cut_sentences=None))[1:] == []


def test_rows_of_other_papers_have_a_second_score_below_the_table() -> None:
    texts = [json.dumps({"cgformer": {"oIoU": value, "mIoU": None}}) for value in (50.0, 51.0)]
    rows = pd.DataFrame({"variant": ["ours", "theirs", "theirs"], "public_scores_json": [None, *texts]})
    choice = RunSelection(protocol="original", rows=rows, claims=rows.iloc[:0])
    assert scores_by_their_code(choice, {"theirs": "CGFormer"}) == [
        "CGFormer, by the rule of its own public code (cgformer): oIoU 50.50, mIoU nan."
    ]
    older = RunSelection(protocol="original", rows=rows[["variant"]], claims=rows.iloc[:0])
    assert scores_by_their_code(older, {}) == []
