"""Find an image under the name that it has on the disk, where an annotation file writes another one.

Tried are both forms of composed Unicode letters (macOS stores decomposed ones), and the two names of a COCO image:
`COCO_train2014_000000000009.jpg` of 2014 and `000000000009.jpg` of 2017.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.data.readers.annotations import ImageInfo

_COCO_2014 = re.compile(r"((?:.*/)?)COCO_(?:train|val)2014_(\d{12}\.\w+)")
_COCO_2017 = re.compile(r"((?:.*/)?)(\d{12}\.\w+)")


def name_on_disk(root: Path, name: str) -> str:
    """Return the name under which a file is there: the given one, else another spelling of it; else the given one."""
    for spelling in (name, *_other_spellings(name)):
        if os.path.lexists(root / spelling):
            return spelling
    return name


def with_names_on_disk(infos: dict[int, ImageInfo], wanted: Iterable[int], root: Path) -> dict[int, ImageInfo]:
    """Return images by id; the wanted ones under the names that they have on the disk."""
    found = dict(infos)
    for image_id in set(wanted) & set(infos):
        info = infos[image_id]
        name = name_on_disk(root, info.file_name)
        if name != info.file_name:
            found[image_id] = replace(info, file_name=name)
    return found


def _other_spellings(name: str) -> Iterator[str]:
    yield unicodedata.normalize("NFC", name)
    yield unicodedata.normalize("NFD", name)
    if match := _COCO_2014.fullmatch(name):
        yield match[1] + match[2]
    elif match := _COCO_2017.fullmatch(name):
        yield from (f"{match[1]}COCO_{part}2014_{match[2]}" for part in ("train", "val"))
