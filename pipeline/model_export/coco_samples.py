"""The scored samples of a run as COCO JSON: ground truth and predictions that pycocotools, FiftyOne and others open.

COCO knows no sentences. So each sentence is an image entry of its own: it has the file of its picture, the sentence as
`expression`, one annotation and one prediction, all of one category. COCO's evaluation then compares each mask with the
mask of its sentence: its recall at an IoU is the share of samples at or above it, our P@X.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from pipeline.data.catalog import parse_split
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.files import staged_folder
from pipeline.records import SAMPLE_SCHEMA, read_table, samples_path
from sharedris.errors import InputError

TRUTH, PREDICTIONS = "ground_truth.json", "predictions.json"
_CATEGORY = {"id": 1, "name": "described object", "supercategory": ""}


def write_coco_samples(runs_root: Path, run_id: str, dataset: ReferDataset, folder: Path) -> list[Path]:
    """Write both files, all or none, and return their paths.

    Args:
        runs_root: root of the runs.
        run_id: a run that was scored on the split.
        dataset: the split, for the true masks.
        folder: where the files go.

    Raises:
        InputError: when the run has no rows of the split, or they are of other samples.
    """
    path = samples_path(runs_root, run_id, dataset.split)
    if not path.exists():
        raise InputError(
            f"{run_id} has no samples of {dataset.split}", f"sharedris evaluate {run_id} {dataset.split} makes them"
        )
    rows = read_table(path, SAMPLE_SCHEMA)
    if list(rows["sent_id"]) != [dataset.info(place).sent_id for place in range(len(dataset))]:
        raise InputError(f"{path} holds other samples than the prepared {dataset.split}", "Prepare the set as it was")
    truth, predictions = _truth(dataset), [_prediction(row) for row in rows.itertuples()]
    with staged_folder(folder) as staging:
        (staging / TRUTH).write_text(json.dumps(truth))
        (staging / PREDICTIONS).write_text(json.dumps(predictions))
    return [folder / TRUTH, folder / PREDICTIONS]


def _truth(dataset: ReferDataset) -> dict[str, Any]:
    images, annotations = [], []
    for place in range(len(dataset)):
        info = dataset.info(place)
        mask = _mask(info.height, info.width, info.mask_rle)
        names = {"ref_id": info.ref_id, "sent_id": info.sent_id, "expression": info.expression}
        sides = {"height": info.height, "width": info.width}
        images.append({"id": place + 1, "file_name": info.file_name, **sides, **names})
        if info.area_ratio > 0:  # a sentence without a target has no annotation
            annotations.append({"id": place + 1, "image_id": place + 1, "iscrowd": 0, **_shape(mask), **names})
    set_name, part = parse_split(dataset.split)
    description = f"{set_name}/{part}, fingerprint {dataset.manifest.fingerprint}; an image entry per sentence"
    return {
        "info": {"description": description, "version": "1.0"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [_CATEGORY],
    }


def _prediction(row: Any) -> dict[str, Any]:
    mask = _mask(row.height, row.width, row.mask_rle)
    return {"image_id": int(row.Index) + 1, "score": 1.0, **_shape(mask)}


def _mask(height: int, width: int, counts: bytes) -> dict[str, Any]:
    return {"size": [int(height), int(width)], "counts": bytes(counts).decode("ascii")}


def _shape(mask: dict[str, Any]) -> dict[str, Any]:
    return {
        "category_id": _CATEGORY["id"],
        "segmentation": mask,
        "area": int(coco_mask.area(mask)),
        "bbox": [float(value) for value in coco_mask.toBbox(mask)],
    }
