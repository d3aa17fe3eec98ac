"""Runs, a prepared split and images for the explorer's benchmark: as near to RefCOCO as can be had without its files.

Sentences, boxes and sizes of images are those of RefCOCO (unc) val. Each box is filled with the outline of a real
object, and each image is a part of a real photograph, since the masks and images of the split are not here. The masks
of the 16 runs are made up: outlines bent by waves of a run's own, some crumbs, and in one of six samples the mask of
another object. Masks are made and written a run at a time.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "reports")]

import synthetic_runs  # noqa: E402

from pipeline.data.masks import encode_segmentation, mask_area  # noqa: E402
from pipeline.data.readers.refer import read_refer  # noqa: E402
from pipeline.records import SAMPLE_SCHEMA, write_table  # noqa: E402
from sharedris.errors import InputError  # noqa: E402

RUNS, SEEDS = 16, 4
TRUTH = -1
ANOTHER_OBJECT, CRUMBS = 1 / 6, 3
STEP_PIXELS = 4.0
_SAMPLE_COLUMNS = ("image_id", "file_name", "ref_id", "expression", "height", "width")


@dataclass(frozen=True, kw_only=True)
class Split:
    """The samples of the split, and per ref its box and polygons in parts of the box."""

    samples: pd.DataFrame
    boxes: dict[int, tuple[float, float, float, float]]
    outlines: list[list[np.ndarray]]
    photos: list[Path]

    def mask(self, position: int, run: int) -> bytes:
        """Return the run lengths of the mask of a run, or of the true one."""
        row = self.samples.iloc[position]
        ref_id, height, width = int(row["ref_id"]), int(row["height"]), int(row["width"])
        rng = np.random.default_rng([position, run + 1])
        if run != TRUTH and rng.random() < ANOTHER_OBJECT:
            of_image = self.samples.loc[self.samples["image_id"] == row["image_id"], "ref_id"].unique()
            ref_id = int(rng.choice(of_image))
        polygons = self._polygons(ref_id)
        if run != TRUTH:
            polygons = [_bent(polygon, rng) for polygon in polygons] + _crumbs(rng, height, width)
        return encode_segmentation([polygon.ravel().tolist() for polygon in polygons], height=height, width=width)

    def _polygons(self, ref_id: int) -> list[np.ndarray]:
        left, top, width, height = self.boxes[ref_id]
        rng = np.random.default_rng(ref_id)
        outline = self.outlines[rng.integers(len(self.outlines))]
        return [polygon * (width, height) + (left, top) for polygon in outline]


def read_split(data: Path, expressions: int) -> Split:
    """Return the first samples of RefCOCO val.

    Raises:
        InputError: when the annotations are not there.
    """
    refs = [
        ref
        for ref in read_refer(data / "refcoco-annotations", "refcoco_unc", need_images=False).refs
        if ref.split == "val" and ref.box is not None
    ]
    refs.sort(key=lambda ref: (ref.image.image_id, ref.ref_id))
    rows = [
        (ref.image.image_id, ref.image.file_name, ref.ref_id, sentence, ref.image.height, ref.image.width)
        for ref in refs
        for sentence in ref.expressions
    ]
    if len(rows) < expressions:
        raise InputError(f"{data} has {len(rows)} expressions of val", "Ask for fewer with --expressions")
    return Split(
        samples=pd.DataFrame(rows[:expressions], columns=list(_SAMPLE_COLUMNS)),
        boxes={ref.ref_id: ref.box for ref in refs if ref.box is not None},
        outlines=_outlines(data / "mini-refcoco"),
        photos=sorted((data / "mini-refcoco" / "images").rglob("*.jpg")),
    )


def _outlines(folder: Path) -> list[list[np.ndarray]]:
    """Return the polygons of real objects, each moved and scaled to the unit square, with points close together."""
    found = []
    for path in sorted(folder.glob("*/instances.json")):
        for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
            if isinstance(annotation["segmentation"], list) and min(annotation["bbox"][2:]) > 40:
                polygons = [_dense(np.reshape(points, (-1, 2))) for points in annotation["segmentation"]]
                every = np.concatenate(polygons)
                low, high = every.min(axis=0), every.max(axis=0)
                found.append([(polygon - low) / (high - low) for polygon in polygons])
    return found


def _dense(polygon: np.ndarray) -> np.ndarray:
    parts = []
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        count = max(1, int(np.abs(end - start).max() / STEP_PIXELS))
        parts.append(start + np.linspace(0, 1, count, endpoint=False)[:, None] * (end - start))
    return np.concatenate(parts)


def _bent(polygon: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a polygon moved by waves over the image: some percent of the object's size, and some pixels."""
    size = float(np.ptp(polygon, axis=0).max())
    bent = polygon + rng.normal(0, 0.01 * size, 2)
    for length in (0.7 * size + 8, 0.3 * size + 8, 12.0):
        turn = rng.normal(0, 2 * np.pi / length, (2, 2))
        height = rng.exponential(0.012 * size + 0.6, 2)
        bent += height * np.sin(polygon @ turn + rng.uniform(0, 2 * np.pi, 2))
    return bent


def _crumbs(rng: np.random.Generator, height: int, width: int) -> list[np.ndarray]:
    found = []
    for _ in range(rng.integers(0, CRUMBS)):
        radius = rng.uniform(3, 12)
        angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
        center = rng.uniform((15, 15), (width - 15, height - 15))
        found.append(center + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    return found


def write_runs(root: Path, split: Split) -> None:
    """Write the records and per-sample rows of 16 runs, and the true masks and images that they were scored on."""
    runs = root / "runs"
    images = split.samples["image_id"].nunique()
    synthetic_runs.write_runs(runs, seeds=tuple(range(SEEDS)), samples=len(split.samples), images=images)
    _write_prepared(root / "prepared" / "toyplus_unc", split)
    paths = sorted(runs.glob("samples/*/*/val.parquet"))
    assert len(paths) == RUNS
    for run, path in enumerate(paths):
        masks = [split.mask(position, run) for position in range(len(split.samples))]
        rows = pd.read_parquet(path).assign(**split.samples, mask_rle=masks, area_ratio=_areas(split))
        rows[["height", "width"]] = rows[["height", "width"]].astype(np.int32)
        write_table(path, rows, SAMPLE_SCHEMA)


def _areas(split: Split) -> list[float]:
    sizes = zip(split.samples["height"], split.samples["width"], strict=True)
    return [
        mask_area(split.mask(position, TRUTH), height=height, width=width) / (height * width)
        for position, (height, width) in enumerate(sizes)
    ]


def _write_prepared(folder: Path, split: Split) -> None:
    (folder / "images").mkdir(parents=True)
    for number, row in split.samples.drop_duplicates("image_id").reset_index(drop=True).iterrows():
        _write_image(folder / "images" / row["file_name"], int(number), (row["width"], row["height"]), split.photos)
    refs = split.samples.drop_duplicates("ref_id")
    refs = refs[["ref_id", "file_name", "height", "width"]].assign(
        mask_rle=[split.mask(position, TRUTH) for position in refs.index]
    )
    refs.to_parquet(folder / "val.parquet")
    manifest = {"image_root": str(folder / "images"), "image_folder": "images", "embedded": False}
    (folder / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")


def _write_image(path: Path, number: int, size: tuple[int, int], photos: list[Path]) -> None:
    """Write a part of a photograph, 55 to 100 % of its sides, one of two mirrored."""
    rng = np.random.default_rng(number)
    with Image.open(photos[number % len(photos)]) as photo:
        kept = rng.uniform(0.55, 1.0) * np.array(photo.size)
        left, top = rng.uniform(0, np.array(photo.size) - kept)
        part = photo.convert("RGB").crop((int(left), int(top), int(left + kept[0]), int(top + kept[1])))
    if number % 2:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    part.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
