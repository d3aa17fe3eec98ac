"""The REFER layout is read as it lies, on real data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pipeline.data.readers.refer import find_image_folder, read_refer, read_training_sentences
from sharedris.errors import InputError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("refcocog_umd", {"train": (16, 17, 17), "val": (7, 13, 24), "test": (6, 6, 11)}),
        ("refcoco_unc", {"val": (5, 15, 42), "testA": (2, 5, 15), "testB": (5, 11, 33)}),
    ],
)
def test_counts_of_the_real_mini_sets(name: str, expected: dict[str, tuple[int, int, int]], shared_data: Path) -> None:
    source = read_refer(shared_data / "mini-refcoco", name)
    got = {
        part: (
            len({ref.image.image_id for ref in source.refs if ref.split == part}),
            sum(ref.split == part for ref in source.refs),
            sum(len(ref.expressions) for ref in source.refs if ref.split == part),
        )
        for part in expected
    }
    assert got == expected


def test_annotations_without_masks_are_read_and_said_to_have_none(shared_data: Path) -> None:
    source = read_refer(shared_data / "refcoco-annotations", "refcoco_unc", need_images=False)
    assert Counter(ref.split for ref in source.refs) == {"val": 3811, "testA": 1975, "testB": 1810}
    assert Counter(problem.kind for problem in source.problems) == {"no mask": 7596}
    assert source.refs[0].box == (468.3, 0.91, 171.7, 116.12)


def test_sentences_of_the_training_split_alone(shared_data: Path) -> None:
    assert len(read_training_sentences(shared_data / "mini-refcoco", "refcocog_umd")) == 17
    with pytest.raises(InputError, match="no training sentences"):
        read_training_sentences(shared_data / "mini-refcoco", "refcoco_unc")


def test_usual_image_folders_are_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image folder"):
        find_image_folder(tmp_path)
    (tmp_path / "train2014").mkdir()
    assert find_image_folder(tmp_path) == tmp_path / "train2014"
    (tmp_path / "images/mscoco/images/train2014").mkdir(parents=True)
    assert find_image_folder(tmp_path) == tmp_path / "images/mscoco/images/train2014"
    assert find_image_folder(tmp_path, tmp_path) == tmp_path
