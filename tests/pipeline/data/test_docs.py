"""The examples of docs/data.md are prepared as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.catalog import SETS
from pipeline.data.prepared.manifest import REF_SCHEMA
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.custom import read_custom

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["refs.jsonl", "refs.csv"])
def test_examples_are_prepared(name: str, tmp_path: Path) -> None:
    example = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert example
    (tmp_path / name).write_text(example.group(1), encoding="utf-8")
    for image in ("street.png", "lake.png"):
        Image.new("RGB", (60, 30)).save(tmp_path / image)
    Image.fromarray(np.eye(30, 60, dtype=np.uint8)).save(tmp_path / "right-car.png")
    source = read_custom(tmp_path / name, "mine")
    assert [ref.expressions for ref in source.refs] == [
        ("the left car", "car by the door"),
        ("the right car",),
        ("the sky",),
    ]
    manifest = prepare_source(source, tmp_path / "prepared").manifest
    assert {part: counts.expressions for part, counts in manifest.splits.items()} == {"train": 3, "val": 1}


def test_sets_and_columns_are_named() -> None:
    assert [name for name in SETS if f"`{name}`" not in TEXT] == []
    assert [name for name in REF_SCHEMA.names if f"`{name}`" not in TEXT] == []
