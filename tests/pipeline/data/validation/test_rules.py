"""Every rule about refs: what breaks it, and that check and prepare apply the same list."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.masks import encode_mask, encode_segmentation
from pipeline.data.readers.annotations import ImageInfo, SourceRef
from pipeline.data.validation.rules import RULES, Rule

DATA_MD = Path(__file__).resolve().parents[4] / "docs" / "data.md"
IMAGE = ImageInfo(image_id=1, file_name="a.png", height=24, width=30)
GOOD = SourceRef(
    ref_id=1,
    image=IMAGE,
    ann_id=1,
    category_id=0,
    split="train",
    sent_ids=(0,),
    expressions=("the box",),
    mask_rle=encode_segmentation([[3, 4, 20, 4, 20, 16, 3, 16]], height=24, width=30),
    box=(3.0, 4.0, 17.0, 12.0),
    outline=(3.0, 4.0, 17.0, 12.0),
)
EMPTY = encode_mask(np.zeros((24, 30), dtype=np.uint8))
OTHER = replace(GOOD, image=replace(IMAGE, image_id=2, file_name="b.png"), ref_id=2)


def rule(kind: str) -> Rule:
    return next(rule for rule in RULES if rule.kind == kind)


BROKEN: list[tuple[str, SourceRef, str]] = [
    ("no expressions", replace(GOOD, expressions=()), "has no expression"),
    ("empty mask", replace(GOOD, mask_rle=EMPTY), "no pixel inside the image"),
    (
        "empty mask",
        replace(GOOD, mask_rle=encode_segmentation([[-9, -9, -5, -9, -5, -5]], height=24, width=30)),
        "no pixel",
    ),
    ("mask outside", replace(GOOD, box=(20.0, 4.0, 13.0, 3.0)), "leaves 24 x 30 pixels"),
    ("mask outside", replace(GOOD, box=None, outline=(-3.0, 4.0, 13.0, 3.0)), "polygons of box .* leave 24 x 30"),
    ("mask outside", replace(GOOD, box=None, outline=(3.0, 4.0, 5.0, 23.0)), "leave 24 x 30"),
    ("mask and box differ", replace(GOOD, box=(3.0, 4.0, 10.0, 12.0)), "its box is"),
    ("mask and box differ", replace(GOOD, box=(0.0, 0.0, 30.0, 24.0)), "its box is"),
]


@pytest.mark.parametrize(("kind", "ref", "message"), BROKEN)
def test_a_ref_that_breaks_a_rule_is_named(kind: str, ref: SourceRef, message: str) -> None:
    (case,) = rule(kind).violations([OTHER, ref])
    assert case.refs == (1,)
    assert case.where == "ref 1 (a.png)"
    assert re.search(message, case.message)
    assert [other.kind for other in RULES if other.kind != kind and list(other.violations([OTHER, ref]))] == []


def test_good_refs_break_no_rule() -> None:
    near = replace(GOOD, box=(-1.9, 4.0, 33.0, 12.0), outline=None)  # annotators miss the border by a pixel
    for each in RULES:
        assert not list(each.violations([GOOD, OTHER, replace(GOOD, box=None, outline=None)])), each.kind
    assert not list(rule("mask outside").violations([near]))
    assert not list(rule("empty mask").violations([replace(GOOD, mask_rle=None)]))


def test_an_image_stays_in_the_last_of_its_splits() -> None:
    refs = [GOOD, OTHER, replace(GOOD, split="val"), replace(GOOD, split="test"), replace(GOOD, ref_id=9)]
    (case,) = rule("images in two splits").violations(refs)
    assert (case.where, case.refs) == ("a.png", (0, 4, 2))
    assert case.message == "is in train and val and test"
    assert rule("images in two splits").level_in("mine") == "warning"
    assert rule("images in two splits").level_in("refcoco_unc") == "error"
    assert rule("images in two splits").level_in("refcocog_google") == "note"


NOTHING = replace(GOOD, ref_id=3, mask_rle=EMPTY, box=None, outline=None, objects=0, expressions=("The Cat",))


def test_a_ref_without_a_target_is_an_error_but_where_the_set_has_them() -> None:
    (case,) = rule("no target").violations([GOOD, NOTHING])
    assert (case.refs, case.message) == ((1,), "names no object")
    assert [each.kind for each in RULES if list(each.violations([GOOD, NOTHING]))] == ["no target"]
    assert rule("no target").level_in("mine") == rule("no target").level_in("refcoco_unc") == "error"
    assert rule("no target").level_in("grefcoco_unc") == "note"


def test_sentences_without_a_target_contradict_and_repeat() -> None:
    again = replace(NOTHING, ref_id=4, expressions=("the cat", "a dog"))
    cat = replace(GOOD, ref_id=5, expressions=("the cat",))
    elsewhere = replace(again, image=OTHER.image)
    (case,) = rule("contradicting sentences").violations([cat, NOTHING, elsewhere])
    assert (case.where, case.message, case.refs) == ("ref 5, 3 (a.png)", "'the cat'", (1,))
    (case,) = rule("doubled sentences").violations([NOTHING, GOOD, again, elsewhere])
    assert (case.where, case.refs) == ("ref 3, 4 (a.png)", (0, 2))
    for kind in ("contradicting sentences", "doubled sentences"):  # two objects may share a sentence: no rule yet
        assert not list(rule(kind).violations([cat, replace(cat, ref_id=6), OTHER]))


def test_every_rule_is_in_the_table_of_the_page() -> None:
    text = DATA_MD.read_text(encoding="utf-8")
    assert [each.kind for each in RULES if f"| {each.kind} |" not in text] == []
