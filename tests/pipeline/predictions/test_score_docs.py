"""The examples of docs/score.md are read as they stand there, and the page names every form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.masks import decode_mask
from pipeline.predictions.form import SentenceKey
from pipeline.predictions.registry import PREDICTION_READERS, choose_reader
from pipeline.predictions.score import compressed

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "score.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return found.group(1)


def test_lines_of_the_page_are_read(tmp_path: Path) -> None:
    path = tmp_path / "masks.jsonl"
    path.write_text(example("masks.jsonl"), encoding="utf-8")
    found = list(PREDICTION_READERS[choose_reader(path)].read(path))
    assert [each.key for each in found] == [SentenceKey(0), SentenceKey(ref_id=1, number=0)]
    for each, column in zip(found, (1, 2), strict=True):
        true = np.zeros((4, 6), bool)
        true[:2, column : column + 2] = True
        counts = compressed(each.mask, height=4, width=6, where="")
        assert (decode_mask(counts, height=4, width=6) == true).all()


def test_code_of_the_page_writes_what_is_read(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(example("write.py"), names)  # of our own page
    mask = np.eye(5, 7, dtype=bool)
    path = tmp_path / "masks.jsonl"
    path.write_text(names["line"](12, mask))
    assert json.loads(path.read_text())["sent_id"] == 12
    (found,) = PREDICTION_READERS["lines"].read(path)
    assert (decode_mask(compressed(found.mask, height=5, width=7, where=""), height=5, width=7) == mask).all()


def test_every_form_is_named() -> None:
    assert [name for name in PREDICTION_READERS if f"| `{name}` |" not in TEXT] == []
