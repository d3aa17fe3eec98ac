"""The same made-up masks of a prepared split in every form that is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pycocotools import mask as coco_mask

from pipeline.data.masks import decode_mask
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.split_table import read_split

SET, PART = "toyplus_unc", "val"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One predicted mask."""

    sent_id: int
    ref_id: int
    number: int
    expression: str
    true: np.ndarray
    mask: np.ndarray

    @property
    def rle(self) -> dict[str, Any]:
        found = coco_mask.encode(np.asfortranarray(self.mask, dtype=np.uint8))
        return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode()}

    @property
    def runs(self) -> dict[str, Any]:
        flat = self.mask.ravel(order="F").astype(np.int8)
        edges = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *edges, len(flat)]).tolist()
        return {"size": list(self.mask.shape), "counts": [0, *runs] if flat[0] else runs}


def answers(root: Path, part: str = PART, name: str = SET) -> list[Answer]:
    """Return a mask per expression: the true one moved, mirrored or empty, by its place; in a mixed order."""
    found = []
    for row in read_split(load_manifest(root, name), part).to_pylist():
        true = decode_mask(row["mask_rle"], height=row["height"], width=row["width"]).astype(bool)
        for number, (sent_id, words) in enumerate(zip(row["sent_ids"], row["expressions"], strict=True)):
            mask = [np.roll(true, 3, axis=1), true[:, ::-1], true, np.zeros_like(true)][sent_id % 4]
            of_ref = {"ref_id": row["ref_id"], "number": number, "expression": words}
            found.append(Answer(sent_id=sent_id, true=true, mask=mask.copy(), **of_ref))
    return found[::2] + found[1::2]


def _lines(of: Callable[[Answer], dict[str, Any]]) -> Callable[[list[Answer], Path], Path]:
    def write(found: list[Answer], folder: Path) -> Path:
        path = folder / "masks.jsonl"
        path.write_text("".join(json.dumps(of(each)) + "\n" for each in found))
        return path

    return write


def _array(found: list[Answer], folder: Path) -> Path:
    path = folder / "masks.json"
    path.write_text(json.dumps([{"sent_id": each.sent_id, "segmentation": each.rle} for each in found], indent=1))
    return path


def _table(**columns: list[Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pq.write_table(pa.table(columns), folder / "masks.parquet")
        return folder / "masks.parquet"

    return write


def _parquet(found: list[Answer], folder: Path) -> Path:
    masks = [{**each.rle, "counts": each.rle["counts"].encode()} for each in found]
    return _table(sent_id=[each.sent_id for each in found], segmentation=masks)(folder)


def _parquet_text(found: list[Answer], folder: Path) -> Path:
    refs = {"ref_id": [each.ref_id for each in found], "sentence_index": [each.number for each in found]}
    return _table(**refs, segmentation=[json.dumps(each.runs) for each in found])(folder)


def _pngs(mode: str, name: Callable[[Answer], str]) -> Callable[[list[Answer], Path], Path]:
    def write(found: list[Answer], folder: Path) -> Path:
        out = folder / "masks"
        out.mkdir()
        for each in found:
            image = Image.fromarray(each.mask.astype(np.uint8) * 255)
            if mode == "P":
                image = Image.fromarray(each.mask.astype(np.uint8), mode="P")
                image.putpalette([0, 0, 0, 200, 30, 30])
            elif mode == "1":
                image = image.convert("1")
            image.save(out / name(each))
        return out

    return write


def _npy(found: list[Answer], folder: Path) -> Path:
    out = folder / "masks"
    out.mkdir()
    for each in found:
        np.save(out / f"{each.sent_id}.npy", each.mask)
    return out


def _npz_folder(found: list[Answer], folder: Path) -> Path:
    out = folder / "masks"
    out.mkdir()
    for each in found:
        np.savez_compressed(out / f"{each.sent_id}.npz", mask=np.asfortranarray(each.mask.astype(np.uint8)))
    return out


def _npz(found: list[Answer], folder: Path) -> Path:
    np.savez_compressed(folder / "masks.npz", **{f"{each.ref_id}_{each.number}": each.mask for each in found})
    return folder / "masks.npz"


def _cris(found: list[Answer], folder: Path) -> Path:
    """Write what CRIS's `inference` writes with `visualize: True`: the image and true mask of a ref stand there too."""
    out = _pngs("L", lambda each: f"{each.ref_id}-iou=12.34-{'_'.join(each.expression.split(' '))}.png")(found, folder)
    for each in found:
        Image.new("L", each.mask.shape[::-1]).save(out / f"{each.ref_id}-mask.png")
        Image.new("RGB", each.mask.shape[::-1]).save(out / f"{each.ref_id}-img.jpg")
    return out


FORMS: dict[str, Callable[[list[Answer], Path], Path]] = {
    "lines": _lines(lambda each: {"sent_id": each.sent_id, "segmentation": each.rle}),
    "lines-runs": _lines(
        lambda each: {"ref_id": each.ref_id, "sentence_index": each.number, "segmentation": each.runs, "score": 0.9}
    ),
    "lines-bytes": _lines(
        lambda each: {
            "sent_id": str(each.sent_id),
            "segmentation": {**each.rle, "counts": str(each.rle["counts"].encode())},
        }
    ),
    "array": _array,
    "parquet": _parquet,
    "parquet-text": _parquet_text,
    "png": _pngs("L", lambda each: f"{each.sent_id}.png"),
    "png-palette": _pngs("P", lambda each: f"{each.ref_id}_{each.number}.png"),
    "png-1-bit": _pngs("1", lambda each: f"{each.ref_id}-{each.number}.png"),
    "npy": _npy,
    "npz-folder": _npz_folder,
    "npz": _npz,
    "cris": _cris,
}
"""Name -> function that writes the masks into a folder and returns what `sharedris score` is given."""
