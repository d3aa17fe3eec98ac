"""Write a prepared set as COCO instances per split, with the sentences in each annotation, and its images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.data.export.rows import ExportedImages, exported_refs
from pipeline.data.prepared.manifest import Manifest
from pipeline.files import write_file


def write_coco(manifest: Manifest, folder: Path) -> list[Path]:
    """Write `annotations/instances_SPLIT.json`, `images/` and the tokenizer.

    An annotation is a ref: its `id` is the ref id, since several refs may be of one annotated object. `segmentation` is
    compressed RLE; `sentences`, `sent_ids` and `ann_id` are added to COCO's fields.

    Returns:
        The files, without the images.

    Raises:
        InputError: when a split or an image is not what was prepared.
    """
    images = ExportedImages(manifest)
    written: list[Path] = []
    for part in manifest.splits:
        infos: dict[str, dict[str, Any]] = {}
        annotations: list[dict[str, Any]] = []
        for ref in exported_refs(manifest, part):
            if ref["file_name"] not in infos:
                write_file(folder / "images" / ref["file_name"], images.content(ref["file_name"], ref["image_digest"]))
                infos[ref["file_name"]] = _image(ref)
            annotations.append(_annotation(ref))
        written.append(folder / "annotations" / f"instances_{part}.json")
        values = _instances(manifest, part, list(infos.values()), annotations)
        write_file(written[-1], json.dumps(values).encode())
    tokenizer = folder / "tokenizer.model"
    write_file(tokenizer, manifest.tokenizer_path.read_bytes())
    return [*written, tokenizer]


def _image(ref: dict[str, Any]) -> dict[str, Any]:
    return {"id": ref["image_id"], "file_name": ref["file_name"], "height": ref["height"], "width": ref["width"]}


def _annotation(ref: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": ref["ref_id"],
        "ref_id": ref["ref_id"],
        "ann_id": ref["ann_id"],
        "image_id": ref["image_id"],
        "category_id": ref["category_id"],
        "segmentation": {"size": [ref["height"], ref["width"]], "counts": ref["mask_rle"].decode("ascii")},
        "area": ref["area"],
        "bbox": ref["bbox"],
        "iscrowd": 0,
        "sent_ids": ref["sent_ids"],
        "sentences": ref["expressions"],
    }


def _instances(
    manifest: Manifest, part: str, images: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> dict[str, Any]:
    categories = sorted({annotation["category_id"] for annotation in annotations})
    return {
        "info": {"description": f"{manifest.set}/{part}, fingerprint {manifest.fingerprint}", "version": "1.0"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": name, "name": f"category {name}", "supercategory": ""} for name in categories],
    }
