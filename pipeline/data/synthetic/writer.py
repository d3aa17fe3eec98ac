"""Write a synthetic set in REFER layout, so that the code that prepares RefCOCO prepares it too.

The scenes depend only on the seed, so the three sets of one seed share their images, as RefCOCO and RefCOCO+ do. Their
sentences differ. `toyg_umd` splits the images differently from the `unc` sets, as RefCOCOg does: combining them for
training would leak, which exercises the code that prevents it. `toyg_none` has gRefCOCO's layout: a sentence names one
object, several or none.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.catalog import SetSpec, find_set
from pipeline.data.readers.targets import NO_TARGET
from pipeline.data.synthetic.any_number import describe_any_number
from pipeline.data.synthetic.expressions import describe
from pipeline.data.synthetic.polygons import trace_outline
from pipeline.data.synthetic.scenes import SHAPES, Scene, SceneObject, make_scene
from pipeline.data.synthetic.sentence_checker import is_true_of_one
from pipeline.files import atomic_writer
from sharedris.errors import InputError

FLAVOUR_OF = {"toy_unc": "location", "toyplus_unc": "appearance", "toyg_umd": "relation"}
ANY_NUMBER = "toyg_none"
SYNTHETIC_SETS = (*FLAVOUR_OF, ANY_NUMBER)
LEAST_EXPRESSIONS, MOST_EXPRESSIONS = 40, 100_000
IMAGE_FOLDER = "images/train2014"

_REFS_PER_IMAGE = 2
_IDS_PER_SEED = 1_000_000
_CYCLE = 25
"""Scenes are assigned to splits in rounds of 25: 20 to train, 3 to val, 2 to the tests."""
_UNC_TURNS = {4: "val", 12: "val", 20: "val", 8: "testA", 16: "testB"}
_UMD_TURNS = {6: "val", 14: "val", 22: "val", 10: "test", 18: "test"}


@dataclass(kw_only=True)
class Written:
    """What was written: the folder, and expressions per split."""

    folder: Path
    images: int = 0
    refs: int = 0
    expressions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SceneRef:
    """Objects of a scene, by position, with their sentences; one object but in `toyg_none`."""

    targets: tuple[int, ...]
    sentences: list[str]


def split_of(spec: SetSpec, index: int) -> str:
    """Return the split of a scene; it depends only on the scene's number."""
    turns = _UMD_TURNS if spec.split_by == "umd" else _UNC_TURNS
    return turns.get(index % _CYCLE, "train")


def iterate_scenes(spec: SetSpec, *, expressions: int, seed: int) -> Iterator[tuple[int, Scene, list[SceneRef]]]:
    """Yield (scene number, scene, refs) until train has `expressions` sentences and no split is empty."""
    stream = 1 + SYNTHETIC_SETS.index(spec.name)  # of random numbers, apart from those of the scene
    empty = set(spec.splits)
    left = expressions
    for index in range(_IDS_PER_SEED):
        if left <= 0 and not empty:
            return
        split = split_of(spec, index)
        if left <= 0 and split == "train":
            continue
        scene = make_scene(np.random.default_rng([seed, index]))
        words = np.random.default_rng([seed, index, stream])
        refs = _refs_of(spec, scene, words)
        if split == "train":
            refs = _cut(refs, left)
            left -= sum(len(ref.sentences) for ref in refs)
        if refs:
            empty.discard(split)
            yield index, scene, refs


def _refs_of(spec: SetSpec, scene: Scene, random: np.random.Generator) -> list[SceneRef]:
    if spec.name != ANY_NUMBER:
        return scene_refs(scene, FLAVOUR_OF[spec.name], random)
    found = describe_any_number(scene.objects, random)
    return [SceneRef(targets=named.targets, sentences=named.sentences) for named in found]


def _cut(refs: list[SceneRef], most: int) -> list[SceneRef]:
    """Return refs with at most that many sentences in all."""
    kept: list[SceneRef] = []
    for ref in refs:
        sentences = ref.sentences[:most]
        most -= len(sentences)
        kept += [SceneRef(targets=ref.targets, sentences=sentences)] if sentences else []
    return kept


def scene_refs(scene: Scene, flavour: str, random: np.random.Generator) -> list[SceneRef]:
    """Return up to two objects with two or three sentences each, each checked by `sentence_checker`."""
    refs: list[SceneRef] = []
    for target in random.permutation(len(scene.objects)).tolist():
        sentences = describe(flavour, scene.objects, target, int(random.integers(2, 4)), random)
        if len(sentences) < 2:
            continue
        for sentence in sentences:
            if not is_true_of_one(sentence, scene.objects, target):
                raise AssertionError(f"the generator wrote a false sentence: {sentence!r} of {scene.objects[target]}")
        refs.append(SceneRef(targets=(target,), sentences=sentences))
        if len(refs) == _REFS_PER_IMAGE:
            break
    return refs


def write_synthetic(out: Path, set_name: str, *, expressions: int = 4000, seed: int = 0) -> Written:
    """Write a synthetic set below a REFER root.

    Args:
        out: the root; the set's folder and `images/train2014` are created below it.
        set_name: one of SYNTHETIC_SETS.
        expressions: sentences of the training split; val has about 15 % of that, the tests 10 %.
        seed: determines scenes, sentences and pixels.

    Raises:
        InputError: for another set, or a number out of range.
    """
    if set_name not in SYNTHETIC_SETS:
        raise InputError(f"{set_name!r} is not a synthetic set", f"There are: {', '.join(SYNTHETIC_SETS)}")
    if not LEAST_EXPRESSIONS <= expressions <= MOST_EXPRESSIONS:
        limits = f"{LEAST_EXPRESSIONS} .. {MOST_EXPRESSIONS}"
        raise InputError(f"--expressions {expressions} is out of range", f"Take {limits}")
    if not 0 <= seed < 1000:
        raise InputError(f"--seed {seed} is out of range", "Take 0 .. 999")
    spec = find_set(set_name)
    images_folder = Path(out) / IMAGE_FOLDER
    images_folder.mkdir(parents=True, exist_ok=True)
    written = Written(folder=Path(out) / spec.folder)
    writer = _LayoutWriter(spec, images_folder, seed * _IDS_PER_SEED)
    for index, scene, refs in iterate_scenes(spec, expressions=expressions, seed=seed):
        writer.add(index, scene, refs)
        written.refs += len(refs)
        split = split_of(spec, index)
        written.expressions[split] = written.expressions.get(split, 0) + sum(len(ref.sentences) for ref in refs)
    writer.close(written.folder)
    written.images = len(writer.images)
    return written


class _LayoutWriter:
    """Collects refs and instances in REFER layout and writes each image at once."""

    def __init__(self, spec: SetSpec, images_folder: Path, first_id: int) -> None:
        self.spec, self.images_folder, self.first_id = spec, images_folder, first_id
        self.refs: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.sentences = 0

    def add(self, index: int, scene: Scene, refs: list[SceneRef]) -> None:
        image_id = self.first_id + index
        file_name = f"TOY_train2014_{image_id:012d}.jpg"
        buffer = io.BytesIO()
        Image.fromarray(scene.image_HWC).save(buffer, format="JPEG", quality=92)
        path = self.images_folder / file_name
        # The annotations come last, so an interrupted set is not there. Sets of one seed share their images: those
        # that an earlier set wrote are not touched.
        if not path.exists() or path.read_bytes() != buffer.getvalue():
            path.write_bytes(buffer.getvalue())
        self.images.append({"id": image_id, "file_name": file_name, "height": scene.height, "width": scene.width})
        first = image_id * 10
        for position, entry in enumerate(scene.objects):
            self.annotations.append(_annotation(scene, position, entry, image_id, first + position))
        for ref in refs:
            objects = {first + target: scene.objects[target] for target in ref.targets}
            self._add_ref(ref, image_id, objects, split_of(self.spec, index))

    def _add_ref(self, ref: SceneRef, image_id: int, objects: dict[int, SceneObject], split: str) -> None:
        sent_ids = list(range(self.sentences, self.sentences + len(ref.sentences)))
        self.sentences += len(sent_ids)
        sentences = [
            {"sent_id": name, "sent": text, "raw": text, "tokens": text.split()}
            for name, text in zip(sent_ids, ref.sentences, strict=True)
        ]
        ann_ids = list(objects) or [NO_TARGET]
        categories = [SHAPES.index(entry.shape) + 1 for entry in objects.values()] or [NO_TARGET]
        any_number = self.spec.name == ANY_NUMBER
        self.refs.append(
            {
                "ref_id": len(self.refs),
                "ann_id": ann_ids if any_number else ann_ids[0],
                "image_id": image_id,
                "file_name": f"TOY_train2014_{image_id:012d}_{ann_ids[0]}.jpg",
                "category_id": categories if any_number else categories[0],
                "split": split,
                "sent_ids": sent_ids,
                "sentences": sentences,
            }
        )

    def close(self, folder: Path) -> None:
        categories = [{"id": i + 1, "name": name, "supercategory": "shape"} for i, name in enumerate(SHAPES)]
        instances = {
            "info": {"description": f"{self.spec.name}: synthetic scenes"},
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }
        with atomic_writer(folder / "instances.json") as file:
            file.write(json.dumps(instances).encode())
        name = self.spec.refs_files[0] if self.spec.refs_files else f"refs({self.spec.split_by}).p"
        content = json.dumps(self.refs).encode() if name.endswith(".json") else pickle.dumps(self.refs, protocol=2)
        with atomic_writer(folder / name) as file:
            file.write(content)


def _annotation(scene: Scene, position: int, entry: SceneObject, image_id: int, ann_id: int) -> dict[str, Any]:
    mask_HW = scene.masks_HW[position]
    rows, columns = np.nonzero(mask_HW)
    whole = not scene.is_occluded(position)
    box = [columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()]
    return {
        "id": ann_id,
        "image_id": image_id,
        "category_id": SHAPES.index(entry.shape) + 1,
        "segmentation": [list(entry.polygon)] if whole else trace_outline(mask_HW),
        "bbox": [float(value) for value in box],
        "area": float(mask_HW.sum()),
        "iscrowd": 0,
    }
