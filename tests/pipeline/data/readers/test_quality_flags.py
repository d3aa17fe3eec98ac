"""Flags of reviewers are joined by what their files have: sentence ids, ref ids, or image and sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.readers.quality_flags import QualityFlags, read_flags
from sharedris.errors import InputError

SAMPLES: tuple[list[Any], ...] = ([10, 11, 12], [5, 5, 6], [580957, 580957, 9], ["Left dog", "the other dog", "cat"])


def _read(tmp_path: Path, name: str, text: str) -> QualityFlags:
    path = tmp_path / name
    path.write_text(text)
    return read_flags([path])


def _flagged(flags: QualityFlags) -> list[int]:
    return [position for position, flag in enumerate(flags.of_samples(*SAMPLES)[1]) if flag]


def _mdetr(**changes: Any) -> str:
    """A reviewed file in the form of MDETR's, of which Ref-L4's description names the list and its field."""
    values = {
        "info": {},
        "images": [
            {"id": 0, "original_id": 580957, "caption": "left dog.", "file_name": "COCO_train2014_000000580957.jpg"},
            {"id": 1, "file_name": "COCO_train2014_000000000009.jpg", "caption": "cat"},
        ],
        "annotation": [
            {"id": 1, "image_id": 0, "bbox": [1, 2, 3, 4], "caption_quality": 0},
            {"id": 2, "image_id": 1, "bbox": [1, 2, 3, 4], "caption_quality": 1},
        ],
    }
    return json.dumps({**values, **changes})


def test_reviewed_annotations_are_joined_by_image_and_sentence(tmp_path: Path) -> None:
    flags = _read(tmp_path, "refcoco_val_reviewed.json", _mdetr())
    reviewed, flagged = flags.of_samples(*SAMPLES)
    assert reviewed.tolist() == [True, False, True]
    assert flagged.tolist() == [True, False, False]
    own = [{"file_name": "COCO_train2014_000000000009.jpg", "caption": "CAT", "caption_quality": 0.0}]
    assert _flagged(_read(tmp_path, "own.json", _mdetr(annotation=own))) == [2]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"sent_id": 11, "flagged": True}, [1]),
        ({"ref_id": 5, "flagged": True}, [0, 1]),
        ({"image_id": 580957, "sentence": "the other dog", "caption_quality": 0}, [1]),
        ({"sent_id": "12", "flagged": False}, []),
    ],
)
def test_own_lists_name_sentences_or_refs(entry: dict[str, Any], expected: list[int], tmp_path: Path) -> None:
    assert _flagged(_read(tmp_path, "mine.jsonl", json.dumps(entry) + "\n")) == expected
    assert _flagged(_read(tmp_path, "mine.json", json.dumps([entry]))) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "[3]", '{"annotation": []}', '[{"caption_quality": 0}]', '[{"sent_id": 1}]'),
        *('[{"sent_id": 1, "caption_quality": 7}]', '[{"sent_id": [1], "caption_quality": 0}]'),
        '[{"ref_id": 1, "flagged": "no"}]',
    ],
)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_a_file_without_flags_is_refused(text: str, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        _read(tmp_path, f"bad.{suffix}", text)
