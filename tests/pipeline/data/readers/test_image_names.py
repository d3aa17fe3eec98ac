"""Images under the name that they have on the disk, where the annotations write another one."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.annotations import check_file_name
from pipeline.data.readers.image_names import name_on_disk
from pipeline.data.readers.refer import read_refer
from tests.pipeline.data.own_data import open_split, prepare, write_lines
from tests.pipeline.data.refer_root import ReferRoot

POLYGON = [[3, 4, 20, 4, 20, 16, 3, 16]]


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("COCO_train2014_000000000009.jpg", "000000000009.jpg"),
        ("COCO_val2014_000000000009.png", "000000000009.png"),
        ("sub/COCO_train2014_000000000009.jpg", "sub/000000000009.jpg"),
        ("000000000009.jpg", "COCO_train2014_000000000009.jpg"),
        ("000000000009.jpg", "COCO_val2014_000000000009.jpg"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("\u00fc/\u00e9.png", "u\u0308/e\u0301.png"),
    ],
)
def test_another_spelling_is_found(written: str, on_disk: str, tmp_path: Path) -> None:
    assert name_on_disk(tmp_path, written) == written
    (tmp_path / on_disk).parent.mkdir(exist_ok=True)
    (tmp_path / on_disk).touch()
    assert name_on_disk(tmp_path, written) == on_disk
    (tmp_path / written).parent.mkdir(exist_ok=True)
    (tmp_path / written).touch()
    assert name_on_disk(tmp_path, written) == written


@pytest.mark.parametrize(("written", "name"), [("sub\\a.png", "sub/a.png"), ("a\\b\\c.png", "a/b/c.png")])
def test_backslashes_are_slashes(written: str, name: str) -> None:
    assert check_file_name(written) == name


@pytest.mark.parametrize("written", ["..\\a.png", "sub\\..\\..\\a.png", "C:\\a.png", "\\\\server\\a.png", "a\x7f.png"])
def test_backslashes_do_not_leave_the_folder(written: str) -> None:
    with pytest.raises(ValueError, match="leaves the image folder"):
        check_file_name(written)


def test_own_images_and_masks_with_other_names_are_prepared_and_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("sub/a.png", f"{unicodedata.normalize('NFD', 'é')}.png"):
        Image.new("RGB", (30, 24)).save(tmp_path / name)
    Image.new("L", (30, 24), 1).save(tmp_path / f"{unicodedata.normalize('NFD', 'mé')}.png")
    rows = [{"image": "sub\\a.png", "polygons": POLYGON}, {"image": "é.png", "mask": "mé.png"}]
    prepare(write_lines(tmp_path, *rows), tmp_path / "out")
    data = open_split(tmp_path / "out")
    assert {data[index].info.file_name for index in range(len(data))} == {
        "sub/a.png",
        f"{unicodedata.normalize('NFD', 'é')}.png",
    }


@pytest.mark.parametrize("folder", ["train2017", "images/train2017"])
def test_a_refer_set_reads_the_images_of_coco_2017(folder: str, refer_root: ReferRoot, tmp_path: Path) -> None:
    def rename(instances: dict[str, list[dict[str, str]]]) -> None:
        for image in instances["images"]:
            image["file_name"] = image["file_name"].replace("TOY_", "COCO_")

    first = prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "toy").manifest
    refer_root.change_instances(rename)
    moved = refer_root.root / folder
    moved.parent.mkdir(exist_ok=True)
    (refer_root.root / "images/train2014").rename(moved)
    for path in moved.iterdir():
        path.rename(moved / path.name.replace("TOY_train2014_", ""))
    second = prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "out").manifest
    assert second.splits == first.splits
    assert load_manifest(tmp_path / "out", "toy_unc").skipped == {}
