"""gRefCOCO, Ref-ZOM and R-RefCOCO in their published layouts: refs with none, one and several objects, and bad ones."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.catalog import find_set, may_lack_target
from pipeline.data.masks import decode_mask
from pipeline.data.readers.annotations import Source
from pipeline.data.readers.json_stream import iterate_elements
from pipeline.data.readers.refer import read_refer, read_training_sentences
from pipeline.data.readers.targets import target_ids
from sharedris.errors import InputError

HEIGHT, WIDTH = 24, 30
BOXES = {11: (2, 3, 8, 6), 12: (15, 10, 9, 9)}
"""Annotation -> x, y, width, height, drawn as a polygon."""


def ref(ref_id: int, ann_id: Any, *sentences: dict[str, Any] | str, **fields: Any) -> dict[str, Any]:
    entries = [
        {"sent_id": 10 * ref_id + number, **({"sent": text} if isinstance(text, str) else text)}
        for number, text in enumerate(sentences)
    ]
    return {"ref_id": ref_id, "ann_id": ann_id, "image_id": 1, "split": "train", "sentences": entries, **fields}


def read(root: Path, name: str, refs: list[dict[str, Any]], *, file: str = "") -> Source:
    spec = find_set(name)
    folder = root / spec.folder
    folder.mkdir(parents=True, exist_ok=True)
    annotations = [
        {
            "id": ann_id,
            "image_id": 1,
            "category_id": 3,
            "bbox": [x, y, w, h],
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for ann_id, (x, y, w, h) in BOXES.items()
    ]
    images = [{"id": number, "file_name": f"{number}.jpg", "height": HEIGHT, "width": WIDTH} for number in (1, 2)]
    far = {**annotations[0], "id": 13, "image_id": 2}
    instances = {"images": images, "annotations": [*annotations, far]}
    (folder / "instances.json").write_text(json.dumps(instances))
    path = folder / (file or (spec.refs_files or (f"refs({spec.split_by}).p",))[0])
    path.write_bytes(json.dumps(refs).encode() if path.suffix == ".json" else pickle.dumps(refs, protocol=2))
    return read_refer(root, name, need_images=False)


def drawn(source: Source) -> dict[int, np.ndarray]:
    return {each.ref_id: decode_mask(each.mask_rle or b"", height=HEIGHT, width=WIDTH) for each in source.refs}


def rectangles(*ann_ids: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for x, y, w, h in (BOXES[ann_id] for ann_id in ann_ids):
        mask[y : y + h, x : x + w] = 1
    return mask


@pytest.mark.parametrize("file", ["grefs(unc).json", "grefs(unc).p"])
def test_grefcoco_has_unions_and_empty_masks(file: str, tmp_path: Path) -> None:
    refs = [ref(0, [11], "one"), ref(1, [11, 12], "both"), ref(2, [-1], "none", no_target=True), ref(3, 12, "other")]
    source = read(tmp_path, "grefcoco_unc", refs, file=file)
    assert source.problems == source.skipped == []
    masks = drawn(source)
    assert [(each.objects, each.ann_id, each.category_id) for each in source.refs] == [
        (1, 11, 3),
        (2, 11, 3),
        (0, -1, -1),
        (1, 12, 3),
    ]
    for ref_id, ann_ids in {0: (11,), 1: (11, 12), 2: (), 3: (12,)}.items():
        assert np.array_equal(masks[ref_id], rectangles(*ann_ids)), ref_id
    assert [each.box for each in source.refs[:3]] == [(2, 3, 8, 6), (2, 3, 22, 16), None]
    assert read_training_sentences(tmp_path, "grefcoco_unc") == ["one", "both", "none", "other"]


@pytest.mark.parametrize("file", ["refs(final).p", "Ref-ZOM(final).p"])
def test_ref_zom_names_its_kind(file: str, tmp_path: Path) -> None:
    refs = [ref(0, [11], "one", source="one"), ref(1, [11, 12], "many", source="many"), ref(2, [], "no", source="zero")]
    source = read(tmp_path, "ref-zom_final", refs, file=file)
    assert source.problems == []
    assert [each.objects for each in source.refs] == [1, 2, 0]
    assert np.array_equal(drawn(source)[1], rectangles(11, 12))
    (tmp_path / "images/train2014").mkdir(parents=True)
    (tmp_path / "images/trainval2014").mkdir(parents=True)
    assert read(tmp_path, "ref-zom_final", refs).image_root == (tmp_path / "images/trainval2014")


@pytest.mark.parametrize("name", ["rrefcoco_unc", "rrefcoco+_unc", "rrefcocog_umd"])
def test_r_refcoco_divides_a_ref_by_its_sentences(name: str, tmp_path: Path) -> None:
    mixed = [{"sent": "the cat", "exist": True}, {"sent": "the blue cat", "exist": False}, {"sent": "a cat"}]
    refs = [ref(0, 11, *mixed), ref(7, 12, {"sent": "no dog", "exist": 0})]
    source = read(tmp_path, name, refs)
    assert source.problems == []
    assert [(each.ref_id, each.objects, each.expressions, each.sent_ids) for each in source.refs] == [
        (0, 1, ("the cat", "a cat"), (0, 2)),
        (-1, 0, ("the blue cat",), (1,)),
        (-8, 0, ("no dog",), (70,)),
    ]
    assert np.array_equal(drawn(source)[0], rectangles(11))
    assert not drawn(source)[-1].any()


def test_the_id_of_a_negative_part_may_not_be_taken(tmp_path: Path) -> None:
    refs = [ref(0, 11, {"sent": "a"}, {"sent": "b", "exist": False}), ref(-1, 12, {"sent": "c"})]
    source = read(tmp_path, "rrefcoco_unc", refs)
    assert [each.ref_id for each in source.refs] == [0, -1]
    assert [str(problem) for problem in source.problems] == ["refs(unc).p[1]: ref_id -1 again"]


BAD = [
    ("grefcoco_unc", ref(0, [11, -1], "x"), "malformed ref", "-1 .no target. stands among annotations"),
    ("grefcoco_unc", ref(0, [], "x"), "malformed ref", r"a ref without a target has \[-1\]"),
    ("grefcoco_unc", ref(0, [11], "x", no_target=True), "malformed ref", r"no_target is True, and ann_id is \[11\]"),
    ("grefcoco_unc", ref(0, [-1], "x", no_target=False), "malformed ref", "no_target is False"),
    ("grefcoco_unc", ref(0, [11, "twelve"], "x"), "malformed ref", "ann_id is 'twelve', not a whole number"),
    ("grefcoco_unc", ref(0, {"a": 1}, "x"), "malformed ref", "not a whole number"),
    ("grefcoco_unc", ref(0, [11, 99], "x"), "missing annotation", "lacks annotation 99"),
    ("grefcoco_unc", ref(0, [11, 13], "x"), "mismatched annotation", "annotation 13 is of image 2"),
    ("grefcoco_unc", ref(0, [-1], "x", image_id=5), "missing annotation", "lacks image 5"),
    ("grefcoco_unc", ref(0, [-1], "x", split="test"), "malformed ref", "split is 'test'"),
    ("grefcoco_unc", ref(0, [-1]), "malformed ref", "has no sentences"),
    ("ref-zom_final", ref(0, [11], "x", source="zero"), "malformed ref", r"source is 'zero', and ann_id is \[11\]"),
    ("ref-zom_final", ref(0, [], "x", source="many"), "malformed ref", "source is 'many'"),
    ("ref-zom_final", ref(0, [11], "x"), "malformed ref", "source is None"),
    ("rrefcoco_unc", ref(0, [11], "x"), "malformed ref", r"ann_id is \[11\], not a whole number"),
    ("rrefcoco_unc", ref(0, 11, {"sent": "x", "exist": "no"}), "malformed ref", "exist is 'no', neither true nor"),
    ("refcoco_unc", ref(0, 11, "x", no_target=True), "malformed ref", "each ref of refcoco_unc has a target"),
    ("refcoco_unc", ref(0, [11, 12], "x"), "malformed ref", "not a whole number"),
    ("refcoco_unc", ref(0, -1, "x"), "missing annotation", "lacks annotation -1"),
]


@pytest.mark.parametrize(("name", "bad", "kind", "message"), BAD)
def test_a_ref_that_contradicts_itself_is_named(
    name: str, bad: dict[str, Any], kind: str, message: str, tmp_path: Path
) -> None:
    source = read(tmp_path, name, [bad])
    assert source.refs == []
    assert Counter(problem.kind for problem in source.problems) == {kind: 1}
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(str(source.problems[0]))


def test_a_repeated_annotation_is_counted_and_changes_no_mask(tmp_path: Path) -> None:
    source = read(tmp_path, "grefcoco_unc", [ref(0, [12, 11, 12], "x")])
    assert [str(problem) for problem in source.skipped] == ["ref 0: ann_id names annotation 12 again"]
    assert (source.refs[0].objects, source.problems) == (2, [])
    assert np.array_equal(drawn(source)[0], rectangles(11, 12))


@pytest.mark.parametrize("text", ["{}", "[1, 2", "[1] x", "[1,]", "5", "", '[{"a": 1, "a": 2}]'])
def test_a_file_that_is_no_list_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "grefs.json").write_text(text)
    with pytest.raises(InputError, match="is not readable JSON"):
        list(iterate_elements(tmp_path / "grefs.json"))


@pytest.mark.parametrize(("content", "file"), [([], ""), ({"a": 1}, "grefs(unc).p")])
def test_no_refs_at_all_are_one_line(content: Any, file: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not hold a list of refs"):
        read(tmp_path, "grefcoco_unc", content, file=file)


def test_only_these_sets_may_lack_a_target() -> None:
    names = ["grefcoco_unc", "ref-zom_final", "rrefcoco_unc", "rrefcoco+_unc", "rrefcocog_umd", "toyg_none"]
    assert all(may_lack_target(name) for name in names)
    assert not any(may_lack_target(name) for name in ("refcoco_unc", "toyg_umd", "mine"))
    assert target_ids({"ann_id": 5}, find_set("toy_unc")) == (5,)
