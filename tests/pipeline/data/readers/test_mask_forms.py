"""Masks and tables as other tools write them are the same refs as in the documented form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.data.masks import MaskError, encode_segmentation
from pipeline.data.readers.annotations import Problem
from pipeline.data.readers.custom import read_custom
from pipeline.data.readers.mask_forms import encode_any_form
from sharedris.errors import InputError

FLAT = [3, 4, 20, 4, 20, 16, 3, 16]
PAIRS = [[3, 4], [20, 4], [20, 16], [3, 16]]
EXPECTED = encode_segmentation([FLAT], height=24, width=30)
RLE = {"size": [24, 30], "counts": EXPECTED.decode()}


def encoded(segmentation: Any, skipped: list[Problem] | None = None) -> bytes:
    found = [] if skipped is None else skipped
    return encode_any_form(segmentation, height=24, width=30, where="x.json annotation 1", skipped=found)


@pytest.mark.parametrize(
    "form",
    [
        [FLAT],
        FLAT,
        PAIRS,
        [PAIRS],
        [[tuple(pair) for pair in PAIRS]],
        [RLE],
        [RLE, RLE],
        {**RLE, "size": [24.0, 30.0]},
        {**RLE, "counts": str(EXPECTED)},
        [{**RLE, "counts": str(EXPECTED)}],
    ],
)
def test_each_form_is_the_same_mask(form: Any) -> None:
    assert encoded(form) == EXPECTED


def test_several_rle_are_their_union() -> None:
    other = [0, 0, 2, 0, 2, 2, 0, 2]
    second = {**RLE, "counts": encode_segmentation([other], height=24, width=30).decode()}
    assert encoded([RLE, second]) == encode_segmentation([FLAT, other], height=24, width=30)


@pytest.mark.parametrize("stray", [[1, 2, 3, 4], [[1, 2], [3, 4]], [1, 2], []])
def test_a_stray_part_is_skipped_and_counted(stray: list[Any]) -> None:
    skipped: list[Problem] = []
    assert encoded([FLAT, stray], skipped) == EXPECTED
    assert [problem.kind for problem in skipped] == ["stray polygon part"]
    assert str(skipped[0]).startswith("x.json annotation 1: a part of")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (None, "has no mask"),
        ([[1, 2, 3, 4]], "polygon of 4 numbers"),
        ([RLE, FLAT], "mixes dictionaries and polygons"),
        ({**RLE, "counts": "b'x"}, "damaged bytes literal"),
        ([{"x": 1, "y": 2}], "RLE is for None"),
    ],
)
def test_what_is_not_a_mask_is_refused(form: Any, expected: str) -> None:
    with pytest.raises(MaskError, match=expected):
        encoded(form)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (30, 24), "teal").save(tmp_path / "a.png")
    return tmp_path


POLYGON = f'"{[FLAT]}"'


@pytest.mark.parametrize(
    "text",
    [
        f"image,split,expressions,polygons,ref_id\na.png,train,the box|teal,{POLYGON},1.0\n",
        f"image, split, expressions, polygons, ref_id\na.png, train, the box|teal, {POLYGON}, 1\n",
        f"image;split;expressions;polygons;ref_id\na.png;train;the box|teal;{[FLAT]};1\n",
        f"image\tsplit\texpressions\tpolygons\tref_id\na.png\ttrain\tthe box|teal\t{[FLAT]}\t1\n",
        f",image,split,expressions,polygons,ref_id\n0,a.png,train,the box|teal,{POLYGON},1\n",
        f"Unnamed: 0,image,split,expressions,polygons,ref_id\n0,a.png,train,the box|teal,{POLYGON},1\n",
        f"\ufeffimage,split,expressions,polygons,ref_id\na.png,train,the box|teal,{POLYGON},1\n,,,,\n ,,,,\n,,,,,,\n",
        f"image,split,expressions,polygons,ref_id\na.png,train,\"['the box', 'teal']\",{POLYGON},1\n",
        f'image,split,expressions,polygons,ref_id\na.png,train,"[""the box"", ""teal""]",{POLYGON},1\n',
    ],
)
def test_csv_of_other_tools_is_read(text: str, folder: Path) -> None:
    (folder / "a.csv").write_text(text, encoding="utf-8")
    source = read_custom(folder / "a.csv", "mine")
    assert [str(problem) for problem in source.problems] == []
    assert [(ref.ref_id, ref.expressions, ref.mask_rle) for ref in source.refs] == [(1, ("the box", "teal"), EXPECTED)]


def test_null_in_json_is_an_absent_field(folder: Path) -> None:
    row: dict[str, Any] = {
        "image": "a.png",
        "split": "train",
        "expression": "the box",
        "expressions": None,
        "mask": None,
    }
    row.update(polygons=[PAIRS], rle=None, ref_id=None, category_id=1.0)
    (folder / "a.jsonl").write_text(json.dumps(row))
    source = read_custom(folder / "a.jsonl", "mine")
    assert source.problems == []
    assert source.refs[0].mask_rle == EXPECTED
    assert source.refs[0].category_id == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"expressions": "['the box' 'teal']"}, "list without commas"),
        ({"category_id": float("inf")}, "not a whole number"),
        ({"ref_id": float("nan")}, "not a whole number"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(changes: dict[str, Any], expected: str, folder: Path) -> None:
    row = {"image": "a.png", "split": "train", "expressions": ["the box"], "polygons": [FLAT], **changes}
    (folder / "a.jsonl").write_text(json.dumps(row))
    (problem,) = read_custom(folder / "a.jsonl", "mine").problems
    assert expected in problem.message


def test_too_many_columns_are_still_refused(folder: Path) -> None:
    (folder / "a.csv").write_text("image,split\na.png,train,x\n")
    with pytest.raises(InputError, match="too many columns"):
        read_custom(folder / "a.csv", "mine")


def test_a_number_of_too_many_digits_is_one_line(folder: Path) -> None:
    digits = "1" * 6000
    (folder / "a.csv").write_text(f'image,split,expression,polygons\na.png,train,box,"[[{digits}]]"\n')
    (problem,) = read_custom(folder / "a.csv", "mine").problems
    assert problem.kind == "malformed mask"
    (folder / "a.jsonl").write_text(f'{{"ref_id": {digits}}}')
    with pytest.raises(InputError, match="line 1 is not JSON"):
        read_custom(folder / "a.jsonl", "mine")
