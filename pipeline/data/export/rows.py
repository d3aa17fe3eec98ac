"""The refs of a prepared set with their images, verified, for any format of export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from pipeline.data.prepared.manifest import REF_SCHEMA, Manifest
from pipeline.data.prepared.verification import parse_rows, read_verified
from pipeline.data.readers.annotations import Source
from pipeline.data.readers.images import content_digest
from pipeline.data.validation.inputs import image_reader
from sharedris.errors import InputError


class ExportedImages:
    """Reads the image files of a prepared set; each is compared with its digest."""

    def __init__(self, manifest: Manifest) -> None:
        root = Source(set_name=manifest.set, family=manifest.family, image_root=Path(manifest.images), files=())
        self._read = image_reader(root, manifest)

    def content(self, file_name: str, digest: str) -> bytes:
        """Return the bytes of an image.

        Raises:
            InputError: when it is missing, or is not the image that was prepared.
        """
        content = self._read(file_name)
        if digest and content_digest(content) != digest:
            raise InputError(f"{file_name} is not the image that was prepared", "Restore it, or prepare the set again")
        return content


def exported_refs(manifest: Manifest, part: str) -> Iterator[dict[str, Any]]:
    """Yield the refs of a split in their order, with `bbox` as [x, y, width, height] around the mask, in pixels.

    Raises:
        InputError: when the split is not what was prepared.
    """
    table = parse_rows(manifest.split_place(part), read_verified(manifest, part))
    if missing := [name for name in REF_SCHEMA.names if name not in table.column_names]:
        raise InputError(f"{manifest.split_place(part)} lacks {', '.join(missing)}", "Prepare the set again")
    for row in table.to_pylist():
        rle = {"size": [row["height"], row["width"]], "counts": row["mask_rle"]}
        yield {**row, "area": int(coco_mask.area(rle)), "bbox": [float(value) for value in coco_mask.toBbox(rle)]}
