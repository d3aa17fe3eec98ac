"""Write annotations of RefCOCO's full size in REFER layout, without images: for timing the preparation.

19,994 images of 640x480, 50,000 refs, 142,210 expressions and about 196,000 annotated objects whose polygons make an
`instances.json` of some 300 MB. The shapes are random blobs; nothing is learnt from them.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.catalog import find_set

IMAGES, REFS, EXPRESSIONS, OBJECTS = 19_994, 50_000, 142_210, 196_000
_POINTS = 76
_WORDS = tuple(
    "the man woman left right red blue shirt in on with near hat dog chair tall white black front back".split()  # noqa: SIM905
)


def write_full_scale(root: Path, *, share: float = 1.0, seed: int = 0) -> Path:
    """Write `refcoco/refs(unc).p` and `refcoco/instances.json` below the root and return their folder.

    Args:
        share: part of the full size, for tests.
    """
    random = np.random.default_rng(seed)
    folder = Path(root) / find_set("refcoco_unc").folder
    folder.mkdir(parents=True, exist_ok=True)
    images, refs = max(4, round(IMAGES * share)), max(4, round(REFS * share))
    objects = max(refs, round(OBJECTS * share))
    owner = np.sort(random.integers(0, images, objects))
    with (folder / "instances.json").open("w", encoding="utf-8") as stream:
        stream.write('{"info": {"description": "random blobs of full size"}, "images": ')
        stream.write(json.dumps([_image(index) for index in range(images)]) + ', "annotations": [')
        for ann_id in range(objects):
            stream.write((", " if ann_id else "") + json.dumps(_annotation(ann_id, int(owner[ann_id]), random)))
        stream.write('], "categories": [{"id": 1, "name": "blob"}]}')
    chosen = np.sort(random.choice(objects, refs, replace=False))
    rows = _refs(chosen, owner, images, max(refs, round(EXPRESSIONS * share)), random)
    (folder / "refs(unc).p").write_bytes(pickle.dumps(rows, protocol=2))
    return folder


def _image(index: int) -> dict[str, Any]:
    return {"id": index, "file_name": f"COCO_train2014_{index:012d}.jpg", "height": 480, "width": 640}


def _annotation(ann_id: int, image_id: int, random: np.random.Generator) -> dict[str, Any]:
    polygons = [_blob(random) for _ in range(1 if random.random() < 0.8 else 2)]
    points = np.array([value for polygon in polygons for value in polygon]).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    box = [round(float(value), 2) for value in (*low, *(high - low))]
    return {
        "segmentation": polygons,
        "area": box[2] * box[3] * 0.7,
        "iscrowd": 0,
        "image_id": image_id,
        "bbox": box,
        "category_id": 1,
        "id": ann_id,
    }


def _blob(random: np.random.Generator) -> list[float]:
    reach = float(random.uniform(15, 110))
    x, y = random.uniform(reach, 640 - reach), random.uniform(reach, 480 - reach)
    turns = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    radii = reach * (0.8 + 0.2 * np.sin(turns * random.integers(2, 7)))
    points = np.stack([x + radii * np.cos(turns), y + radii * np.sin(turns)], axis=1)
    return np.round(points, 2).ravel().tolist()


def _refs(
    chosen: np.ndarray, owner: np.ndarray, images: int, expressions: int, random: np.random.Generator
) -> list[dict[str, Any]]:
    each = np.full(len(chosen), expressions // len(chosen))
    each[: expressions - each.sum()] += 1
    rows: list[dict[str, Any]] = []
    sent_id = 0
    for ref_id, ann_id in enumerate(chosen.tolist()):
        image_id = int(owner[ann_id])
        names = range(sent_id, sent_id + int(each[ref_id]))
        sent_id = names.stop
        rows.append(
            {
                "ref_id": ref_id,
                "ann_id": ann_id,
                "image_id": image_id,
                "file_name": f"COCO_train2014_{image_id:012d}_{ann_id}.jpg",
                "category_id": 1,
                "split": _split(image_id / images),
                "sent_ids": list(names),
                "sentences": [_sentence(name, random) for name in names],
            }
        )
    return rows


def _split(place: float) -> str:
    return "train" if place < 0.85 else "val" if place < 0.925 else "testA" if place < 0.9625 else "testB"


def _sentence(sent_id: int, random: np.random.Generator) -> dict[str, Any]:
    words = [_WORDS[index] for index in random.integers(0, len(_WORDS), int(random.integers(1, 8)))]
    text = " ".join(words)
    return {"sent_id": sent_id, "sent": text, "raw": text.capitalize(), "tokens": words}
