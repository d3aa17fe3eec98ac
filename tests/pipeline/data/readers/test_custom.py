"""Your own data: the same ref as PNG, polygons and RLE, in JSON Lines and CSV, and what is wrong with a line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.dataset.combined import training_dataset
from pipeline.data.masks import decode_mask, encode_mask
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.custom import read_custom
from sharedris.errors import InputError
from tests.pipeline.data.run_lengths import run_lengths

POLYGON = [[3, 4, 20, 4, 20, 16, 3, 16]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images and a mask that covers the polygon's pixels."""
    for name in ("a.png", "sub/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (30, 24), "teal").save(tmp_path / name)
    mask_HW = np.zeros((24, 30), dtype=np.uint8)
    mask_HW[4:16, 3:20] = 255
    Image.fromarray(mask_HW).save(tmp_path / "mask.png")
    return tmp_path


def row(**changes: Any) -> dict[str, Any]:
    values = {
        "image": "a.png",
        "split": "train",
        "expressions": ["the box", "teal box"],
        "polygons": POLYGON,
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "refs.jsonl"
    path.write_text("\n".join(json.dumps(entry) for entry in rows) + "\n", encoding="utf-8")
    return path


def test_three_kinds_of_mask_are_the_same_mask(folder: Path) -> None:
    mask_HW = np.asarray(Image.open(folder / "mask.png"))
    counts = encode_mask(mask_HW)
    path = write(
        folder,
        row(),
        row(polygons=None, mask="mask.png"),
        row(polygons=None, rle={"size": [24, 30], "counts": counts.decode()}),
        row(polygons=None, rle={"size": [24, 30], "counts": run_lengths(mask_HW)}, image="sub/b.jpg"),
    )
    source = read_custom(path, "mine")
    assert not source.problems
    for ref in source.refs:
        assert ref.mask_rle is not None
        assert (decode_mask(ref.mask_rle, height=24, width=30) == (mask_HW > 0)).all()
    assert [ref.image.image_id for ref in source.refs] == [0, 0, 0, 1]
    assert [ref.ref_id for ref in source.refs] == [0, 1, 2, 3]
    assert source.refs[1].sent_ids == (2, 3)


def test_csv_says_the_same_as_json_lines(folder: Path) -> None:
    lines = [row(), row(polygons=None, mask="mask.png", split="val", expressions=["l'été, là"])]
    with (folder / "refs.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["image", "split", "expressions", "polygons", "mask"])
        writer.writeheader()
        for entry in lines:
            cells = {**entry, "expressions": "|".join(entry["expressions"])}
            writer.writerow({name: json.dumps(v) if name == "polygons" else v for name, v in cells.items()})
    from_csv = read_custom(folder / "refs.csv", "mine")
    assert not from_csv.problems
    assert from_csv.refs == read_custom(write(folder, *lines), "mine").refs
    assert from_csv.refs[1].expressions == ("l'été, là",)


def test_custom_data_trains_like_any_other(folder: Path, tmp_path: Path) -> None:
    parts = [("train", "a.png"), ("train", "a.png"), ("val", "sub/b.jpg")]
    path = write(folder, *[row(split=part, image=name, ref_id=number) for number, (part, name) in enumerate(parts)])
    manifest = prepare_source(read_custom(path, "mine"), tmp_path / "out").manifest
    assert {part: count.expressions for part, count in manifest.splits.items()} == {"train": 4, "val": 2}
    data = training_dataset(tmp_path / "out", ("mine",), image_size=32, text_tokens=10)
    assert data[0].mask_SS.mean() == pytest.approx(12 * 17 / (24 * 30), abs=0.03)


def test_a_changed_mask_file_is_prepared_anew(folder: Path, tmp_path: Path) -> None:
    path = write(folder, row(polygons=None, mask="mask.png"))
    assert prepare_source(read_custom(path, "mine"), tmp_path / "out").written
    assert not prepare_source(read_custom(path, "mine"), tmp_path / "out").written
    Image.new("L", (30, 24), 1).save(folder / "mask.png")
    assert prepare_source(read_custom(path, "mine"), tmp_path / "out").written


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image": None}, "image: file_name None"),
        ({"image": "../a.png"}, "leaves the image folder"),
        ({"image": "none.png"}, "does not exist"),
        ({"image": "refs.jsonl"}, "not an image"),
        ({"split": None}, "is not a split name"),
        ({"split": "a/b"}, "is not a split name"),
        ({"colour": "red"}, r"unknown field\(s\) colour"),
        ({"expressions": None}, "needs either expressions or expression"),
        ({"expressions": []}, "not a list of sentences"),
        ({"expressions": ["ok", " . "]}, "has no words"),
        ({"expressions": 3}, "not a list of sentences"),
        ({"polygons": None}, "needs one of mask, polygons, rle; found none"),
        ({"mask": "mask.png"}, "found mask and polygons"),
        ({"polygons": {"size": [24, 30]}}, "polygons is dict"),
        ({"polygons": [[1, 2]]}, "polygon of 2 numbers"),
        ({"polygons": "[["}, "polygons is not JSON"),
        ({"polygons": None, "mask": "small.png"}, "is 5 x 5, its image 24 x 30"),
        ({"polygons": None, "mask": "lossy.jpg"}, "has to be lossless PNG"),
        ({"polygons": None, "mask": "cut.png"}, "cut.png"),
        ({"polygons": None, "rle": {"size": [5, 5], "counts": [25]}}, "RLE is for"),
        ({"ref_id": "x"}, "ref_id is 'x'"),
        ({"ref_id": 1.5}, "ref_id is 1.5"),
        ({"ref_id": 10**30}, "does not fit 64 bits"),
    ],
)
def test_a_bad_line_is_named(changes: dict[str, Any], expected: str, folder: Path, tmp_path: Path) -> None:
    Image.new("L", (5, 5)).save(folder / "small.png")
    Image.new("L", (30, 24)).save(folder / "lossy.jpg")
    (folder / "cut.png").write_bytes((folder / "mask.png").read_bytes()[:60])
    path = write(folder, row(), row(**changes))
    source = read_custom(path, "mine")
    assert len(source.problems) == 1
    with pytest.raises(InputError, match=expected) as caught:
        prepare_source(source, tmp_path / "out")
    assert "refs.jsonl line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.jsonl", "{", "line 1 is not JSON"),
        ("x.jsonl", "\n[1]", "line 2 is not a JSON object"),
        ("x.jsonl", '{"image": "a.png", "split": "train", "image": "b.png"}', "the key 'image' occurs twice"),
        ("x.jsonl", '{"rle": {"size": [1, 1], "counts": [1], "size": [2, 2]}}', "the key 'size' occurs twice"),
        ("x.csv", "image,split\na,b,c,d\n", "too many columns"),
        ("x.csv", "image,split,image\na,b,c\n", "the column image twice"),
        ("x.csv", "image;split; split\na;b;c\n", "the column split twice"),
        ("x.csv", 'image\n"a', "is not CSV"),
        ("x.txt", "", "neither .jsonl nor .csv"),
    ],
)
def test_a_bad_file_is_one_line(name: str, text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=expected):
        read_custom(tmp_path / name, "mine")


def test_an_empty_file_has_no_refs(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(InputError, match="has no refs"):
        prepare_source(read_custom(tmp_path / "x.jsonl", "mine"), tmp_path / "out")


def test_not_utf8_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_custom(tmp_path / "x.jsonl", "mine")


def test_a_line_after_the_largest_id_has_to_name_its_own(folder: Path) -> None:
    source = read_custom(write(folder, row(ref_id=2**63 - 1), row()), "mine")
    (problem,) = source.problems
    assert problem.message.startswith("the next free ref_id is 9223372036854775808, which does not fit")
