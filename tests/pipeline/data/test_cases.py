"""Inputs that failed in version 0.1, by their number in ../shared/cases; images that are not shipped are made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.masks import decode_mask
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.prepare import Prepared, prepare_source
from pipeline.data.readers.annotations import Source
from pipeline.data.readers.custom import read_custom
from pipeline.data.readers.refer import read_refer
from sharedris.errors import InputError
from sharedris.image_input import normalize
from sharedris.predictor import image_tensor, open_image
from tests.conftest import SHARED_DATA
from tests.pipeline.data.own_data import open_split
from tests.pipeline.data.refer_root import ReferRoot

CASES = SHARED_DATA.parent / "cases"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A shipped case: what is said of it, or what is prepared from it."""

    refused: str = ""
    skipped: dict[str, int] | None = None
    warnings: dict[str, int] = field(default_factory=dict)
    areas: tuple[int, ...] = ()  # object pixels of the training refs
    size: tuple[int, int] | None = None  # height and width of the first image


SHIPPED = {
    "001-pickle-laughs-ref_id": Case(refused="expand out of proportion"),
    "003-pickle-hash-bomb-key": Case(refused="expand out of proportion"),
    "005-pickle-deep-ref_id": Case(refused="nests more than"),
    "017-refs-huge-ref_id": Case(refused="ref_id is .*, which does not fit 64 bits"),
    "019-refs-huge-sent_id": Case(refused="sent_id is .*, which does not fit 64 bits"),
    "021-refs-surrogate-sentence": Case(refused="holds half of a character"),
    "029-json-category-1e400": Case(refused="category_id is inf, not a whole number"),
    "031-json-bbox-short": Case(refused="not 4 numbers"),
    "043-json-5000-digits": Case(refused="not readable JSON"),
    "09-bbox-of-two": Case(refused="not 4 numbers"),
    "123-custom-category-infinity": Case(refused="category_id is inf, not a whole number"),
    "125-custom-polygon-5000-digits-csv": Case(refused="polygons is not JSON"),
    "127-custom-image-surrogate": Case(refused="holds half of a character"),
    "01-rle-in-a-list": Case(),
    "04-jsonl-with-nulls": Case(),
    "05-csv-with-list-column": Case(warnings={"images in two splits": 1}),
    "06-csv-float-ref-id": Case(warnings={"images in two splits": 1}),
    "07-csv-trailing-empty-rows": Case(),
    "07b-csv-semicolons": Case(),
    "10-ids-as-text": Case(),
    "11-polygon-of-pairs": Case(),
    "27-counts-bytes-repr": Case(),
    "02-exif-photo": Case(areas=(150,), size=(60, 40)),
    "02b-exif-mask": Case(areas=(150,), size=(60, 40)),
    "03-mask-of-colour-ids": Case(areas=(150, 150)),
    "03b-mask-in-alpha": Case(areas=(150,)),
    "03e-mask-all-black": Case(refused="1 x empty mask", skipped={"empty mask": 1}),
    "08-sixteen-bit": Case(areas=(150,)),
    "08b-float-tiff": Case(areas=(150,)),
    "12-part-of-two-points": Case(skipped={"stray polygon part": 1}),
    "13-coco-2017-names": Case(skipped={}),
    "135-custom-mask-empty": Case(refused="1 x empty mask"),
    "137-custom-exif-rotated": Case(areas=(864,)),
    "23b-backslash": Case(areas=(150,)),
    "29-image-in-two-splits": Case(warnings={"images in two splits": 1}),
}


def read_case(folder: Path) -> Source:
    own = next((path for path in sorted(folder.iterdir()) if path.suffix in (".jsonl", ".csv")), None)
    root = folder / "refer" if (folder / "refer").is_dir() else folder
    return read_custom(own, "mine") if own else read_refer(root, "toy_unc")


def test_every_shipped_case_is_tried() -> None:
    if not CASES.is_dir():
        pytest.skip("no ../shared/cases beside the project")
    assert {folder.name for folder in CASES.iterdir() if folder.is_dir()} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_case(name: str, tmp_path: Path) -> None:
    if not (CASES / name).is_dir():
        pytest.skip("no ../shared/cases beside the project")
    case = SHIPPED[name]
    if case.refused:
        with pytest.raises(InputError, match=case.refused):
            prepare_source(read_case(CASES / name), tmp_path / "out")
        assert not (tmp_path / "out").exists()
        if case.skipped is None:  # nothing else is in the set
            return
    source = read_case(CASES / name)
    manifest = prepare_source(source, tmp_path / "out", on_bad_ref="skip" if case.refused else "error").manifest
    assert manifest.skipped == (case.skipped or {})
    assert manifest.warnings == case.warnings
    if case.areas:
        data = open_split(tmp_path / "out")
        infos = {data.info(index).ref_id: data.info(index) for index in range(len(data))}.values()
        areas = [int(decode_mask(info.mask_rle, height=info.height, width=info.width).sum()) for info in infos]
        assert areas == list(case.areas)
        first = data.info(0)
        assert case.size in (None, (first.height, first.width))
        seen = image_tensor(open_image(source.image_root / first.file_name), 32)
        assert (normalize([data[0].image_CSS])[0] == seen).all()


def set_polygons(polygons: list[list[float]], **changes: Any) -> Callable[[ReferRoot], None]:
    return lambda root: root.change_instances(
        lambda all_: root.first_annotation(all_).update({"segmentation": polygons, **changes})
    )


def set_rle_of_background(root: ReferRoot) -> None:
    root.change_instances(
        lambda all_: root.first_annotation(all_).update(segmentation={"size": [80, 96], "counts": [7680]})
    )


def shrink_first_image(root: ReferRoot) -> None:
    """The image is one pixel and annotated as one; the objects of it lie outside."""
    image_id = int(root.first_image().stem[-12:])
    Image.new("RGB", (1, 1)).save(root.first_image())
    root.change_instances(
        lambda all_: next(each for each in all_["images"] if each["id"] == image_id).update(height=1, width=1)
    )


def duplicate_images_key(root: ReferRoot) -> None:
    text = root.instances_path.read_text()
    images = json.dumps([{**each, "height": 40} for each in json.loads(text)["images"]])
    root.instances_path.write_text(text[: text.rindex("}")] + f', "images": {images}}}')


def duplicate_key_of_an_entry(root: ReferRoot) -> None:
    text = root.instances_path.read_text()
    root.instances_path.write_text(text.replace('"height": 80', '"height": 80, "height": 40', 1))


GENERATED: dict[str, tuple[Callable[[ReferRoot], None], str]] = {
    "045 images twice": (duplicate_images_key, "the key 'images' occurs twice"),
    "045 height twice": (duplicate_key_of_an_entry, "the key 'height' occurs twice"),
    "055 polygon wholly negative": (set_polygons([[-30, -30, -10, -30, -10, -10]]), "x empty mask"),
    "055 polygon beyond the right": (set_polygons([[200, 10, 220, 10, 220, 30]]), "x empty mask"),
    "055 box and polygon outside": (set_polygons([[-9, -9, -3, -9, -3, -3]], bbox=[-9, -9, 6, 6]), "x empty mask"),
    "069 RLE of background": (set_rle_of_background, "1 x empty mask"),
    "111 image of one pixel": (shrink_first_image, "2 x empty mask"),
    "80 GB: a long edge": (set_polygons([[0, 0, 1e9, 0, 1e9, 1e9]]), "outline of more than"),
    "80 GB: far away": (set_polygons([[5e5, 5e5, 5e5 + 1, 5e5, 5e5, 5e5 + 1]]), "far outside its image"),
    "80 GB: many edges": (set_polygons([[0, 0, 1300, 1300] * 2000]), "outline of more than"),
}


@pytest.mark.parametrize("name", GENERATED)
def test_a_case_that_is_not_shipped(name: str, refer_root: ReferRoot, tmp_path: Path) -> None:
    breaks, expected = GENERATED[name]
    breaks(refer_root)
    with pytest.raises(InputError, match=expected) as caught:
        prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["055 polygon wholly negative", "069 RLE of background", "111 image of one pixel"])
def test_a_broken_refer_set_is_prepared_without_its_bad_refs(name: str, refer_root: ReferRoot, tmp_path: Path) -> None:
    whole = sum(counts.refs for counts in prepared(refer_root, tmp_path / "whole").manifest.splits.values())
    GENERATED[name][0](refer_root)
    manifest = prepared(refer_root, tmp_path / "out").manifest
    assert sum(manifest.skipped.values()) >= 1
    assert sum(counts.refs for counts in manifest.splits.values()) == whole - sum(manifest.skipped.values())
    assert load_manifest(tmp_path / "out", "toy_unc") == manifest


def prepared(root: ReferRoot, out: Path) -> Prepared:
    return prepare_source(read_refer(root.root, "toy_unc"), out, on_bad_ref="skip")


def test_masks_of_other_splits_are_not_touched(refer_root: ReferRoot, tmp_path: Path) -> None:
    """A set without errors has the same fingerprint as before there were rules (tests/test_frozen.py has the value)."""
    first = prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "a").manifest
    assert first.fingerprint == prepared(refer_root, tmp_path / "b").manifest.fingerprint
    assert np.all([not first.skipped, not first.warnings])
