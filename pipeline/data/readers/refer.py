"""Read the REFER layout: `FOLDER/refs(SPLIT_BY).p`, `FOLDER/instances.json` and an image folder below one root.

gRefCOCO, Ref-ZOM and R-RefCOCO have the same files with other refs, which `pipeline.data.readers.targets` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.catalog import SetSpec, find_set
from pipeline.data.masks import MaskError, empty_mask, merge_masks
from pipeline.data.readers.annotations import (
    Box,
    ImageInfo,
    Problem,
    Source,
    SourceRef,
    check_file_name,
    clean_expression,
)
from pipeline.data.readers.field_values import finite_numbers, shown, whole_number
from pipeline.data.readers.image_names import with_names_on_disk
from pipeline.data.readers.json_stream import iterate_elements, iterate_members
from pipeline.data.readers.mask_forms import box_around, encode_any_form, outline_box
from pipeline.data.readers.safe_pickle import load_plain_pickle
from pipeline.data.readers.targets import NO_TARGET, names_a_target, separated, target_ids
from sharedris.errors import InputError
from sharedris.pixels import MAX_PIXELS

IMAGE_FOLDERS = (
    "images/mscoco/images/train2014",
    "images/train2014",
    "train2014",
    "images/mscoco/images/train2017",
    "images/train2017",
    "train2017",
)
_SEGMENTATION = "segmentation"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Annotation:
    image_id: int
    category_id: int
    segmentation: Any  # polygons as arrays, or an RLE dictionary
    box: Box | None


def find_image_folder(root: Path, given: Path | None = None, own: Sequence[str] = ()) -> Path:
    """Return the image folder: the one given, or the first of a set's own and of IMAGE_FOLDERS below the root.

    Raises:
        InputError: when there is none.
    """
    candidates = [Path(given)] if given else [Path(root) / folder for folder in (*own, *IMAGE_FOLDERS)]
    for folder in candidates:
        if folder.is_dir():
            return folder.absolute()
    looked = ", ".join(str(folder) for folder in candidates)
    raise InputError(f"no image folder: {looked}", "Give it with --images FOLDER, or skip the images with --no-images")


def read_refer(root: Path, set_name: str, *, images: Path | None = None, need_images: bool = True) -> Source:
    """Read a set in REFER layout; problems of single refs are listed in the result, not raised.

    Args:
        root: the folder that holds the set's folder.
        set_name: in full, `refcocog_umd`.
        images: the image folder, if it is not one of IMAGE_FOLDERS.
        need_images: false if only counts and annotations are needed.

    Raises:
        InputError: when a file is missing or unreadable, or the set is unknown.
    """
    spec = find_set(set_name)
    refs_path, instances_path = _find_files(Path(root), spec)
    try:
        image_root = find_image_folder(root, images, spec.image_folders)
    except InputError:
        if need_images:
            raise
        image_root = (Path(images) if images else Path(root) / IMAGE_FOLDERS[0]).absolute()
    source = Source(
        set_name=set_name,
        family=spec.family,
        image_root=image_root,
        files=(refs_path, instances_path),
        check_command=f"sharedris data check {set_name} --root {root}",
    )
    raw_refs = _checked_refs(_raw_refs(refs_path), refs_path, spec, source.problems)
    wanted = {ann_id for ref in raw_refs for ann_id in ref["ann_ids"]}
    infos, annotations = _read_instances(instances_path, wanted, source.problems)
    infos = with_names_on_disk(infos, (ref["image_id"] for ref in raw_refs), image_root)
    source.refs = list(_join(raw_refs, infos, annotations, source))
    return source


def read_training_sentences(root: Path, set_name: str) -> list[str]:
    """Return the sentences of a set's training split, for a tokenizer that several sets share.

    Raises:
        InputError: when the refs cannot be read, or hold no training sentences.
    """
    spec = find_set(set_name)
    path, _ = _find_files(Path(root), spec)
    refs = _checked_refs(_raw_refs(path), path, spec, [])
    texts = [entry["sent"] for ref in refs if ref["split"] == "train" for entry in ref["sentences"]]
    if not any(texts):
        raise InputError(f"{path} has no training sentences", "Name sets that have a train split, or give --tokenizer")
    return [text for text in texts if text]


def _find_files(root: Path, spec: SetSpec) -> tuple[Path, Path]:
    if not root.is_dir():
        raise InputError(
            f"{root} is not a folder", "Give the folder that holds refcoco, refcoco+ or refcocog with --root"
        )
    folder = root / spec.folder
    names = spec.refs_files or (f"refs({spec.split_by}).p",)
    refs_path = next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
    paths = refs_path, folder / "instances.json"
    for path in paths:
        if not path.is_file():
            there = (
                ", ".join(sorted(entry.name for entry in folder.glob("*"))) if folder.is_dir() else "it does not exist"
            )
            raise InputError(f"{path} is missing", f"{folder}: {there or 'empty'}")
    return paths


def _raw_refs(path: Path) -> Iterable[Any]:
    if path.suffix == ".json":
        return iterate_elements(path)
    raw = load_plain_pickle(path)
    return raw if isinstance(raw, list | tuple) else ()


def _checked_refs(raw: Iterable[Any], path: Path, spec: SetSpec, problems: list[Problem]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    seen: set[int] = set()
    position = -1
    for position, raw_ref in enumerate(raw):
        where = f"{path.name}[{position}]"
        try:
            ref = _checked_ref(raw_ref, spec)
        except ValueError as error:
            problems.append(Problem(kind="malformed ref", where=where, message=str(error)))
            continue
        for part in separated(ref) if spec.layout == "r-refcoco" else [ref]:
            if part["ref_id"] in seen:
                problems.append(Problem(kind="duplicate ref_id", where=where, message=f"ref_id {part['ref_id']} again"))
                continue
            seen.add(part["ref_id"])
            kept.append(part)
    if position < 0:
        raise InputError(f"{path} does not hold a list of refs", "Get it from its official source")
    return kept


def _checked_ref(raw: Any, spec: SetSpec) -> dict[str, Any]:
    """Return the fields that are read of a ref, with their types."""
    if not isinstance(raw, dict):
        raise ValueError("is not a dictionary")
    ids = {name: whole_number(raw.get(name), name) for name in ("ref_id", "image_id")}
    ann_ids = target_ids(raw, spec)
    if raw.get("split") not in spec.splits:
        raise ValueError(f"split is {shown(raw.get('split'))}, not one of {', '.join(spec.splits)}")
    sentences = raw.get("sentences")
    if not isinstance(sentences, list | tuple) or not sentences:
        raise ValueError("has no sentences")
    if not all(isinstance(sentence, dict) for sentence in sentences):
        raise ValueError("has a sentence that is not a dictionary")
    kept = [
        {
            "sent_id": whole_number(each.get("sent_id"), "sent_id"),
            "sent": clean_expression(each.get("sent")),
            "exists": spec.layout != "r-refcoco" or names_a_target(each),
        }
        for each in sentences
    ]
    return {**ids, "ann_ids": ann_ids, "split": raw["split"], "sentences": kept}


def _read_instances(
    path: Path, wanted: set[int], problems: list[Problem]
) -> tuple[dict[int, ImageInfo], dict[int, _Annotation]]:
    infos: dict[int, ImageInfo] = {}
    annotations: dict[int, _Annotation] = {}
    keys: set[str] = set()
    for key, element in iterate_members(path):
        keys.add(key)
        if key not in ("images", "annotations"):
            continue
        try:
            name = whole_number(element.get("id") if isinstance(element, dict) else None, "id")
        except ValueError as error:
            message = f"an entry of {key} has no id: {error}"
            problems.append(Problem(kind=f"malformed {key}", where=path.name, message=message))
            continue
        if key == "images":
            _keep(infos, name, {**element, "id": name}, _image_info, "image", problems)
        elif name in wanted:
            _keep(annotations, name, element, _annotation, "annotation", problems)
    if missing := {"images", "annotations"} - keys:
        raise InputError(f"{path} has no {' and no '.join(sorted(missing))}", "Give a COCO instances file")
    return infos, annotations


def _keep(
    kept: dict[int, Any], name: int, element: dict[str, Any], build: Any, kind: str, problems: list[Problem]
) -> None:
    where = f"{kind} {name}"
    if name in kept:
        problems.append(Problem(kind=f"duplicate {kind} id", where=where, message="occurs again"))
        return
    try:
        kept[name] = build(element)
    except (KeyError, TypeError, ValueError) as error:
        text = f"has no {error}" if isinstance(error, KeyError) else str(error)
        problems.append(Problem(kind=f"malformed {kind}", where=where, message=text))


def _image_info(element: dict[str, Any]) -> ImageInfo:
    height, width = whole_number(element["height"], "height"), whole_number(element["width"], "width")
    if height <= 0 or width <= 0:
        raise ValueError(f"height and width are {height} and {width}")
    if height * width > MAX_PIXELS:
        raise ValueError(f"{height} x {width} pixels are more than {MAX_PIXELS}")
    return ImageInfo(
        image_id=element["id"], file_name=check_file_name(element["file_name"]), height=height, width=width
    )


def _annotation(element: dict[str, Any]) -> _Annotation:
    box = element.get("bbox")
    x, y, width, height = finite_numbers(box, "bbox", count=4) if box else (0.0, 0.0, 0.0, 0.0)
    return _Annotation(
        image_id=whole_number(element["image_id"], "image_id"),
        category_id=whole_number(element.get("category_id", 0), "category_id"),
        segmentation=_compact(element.get(_SEGMENTATION, [])),
        box=(x, y, width, height) if box else None,
    )


def _compact(segmentation: Any) -> Any:
    """Return polygons as arrays, a fifth of the memory; other forms are kept for `encode_any_form`."""
    if not isinstance(segmentation, list) or not all(isinstance(part, list) for part in segmentation):
        return segmentation
    try:
        return [np.asarray(polygon, dtype=np.float64) for polygon in segmentation]
    except (TypeError, ValueError):
        return segmentation


def _listed(segmentation: Any) -> Any:
    if not isinstance(segmentation, list):
        return segmentation
    return [part.tolist() if isinstance(part, np.ndarray) else part for part in segmentation]


def _join(
    raw_refs: Iterable[dict[str, Any]],
    infos: dict[int, ImageInfo],
    annotations: dict[int, _Annotation],
    source: Source,
) -> Iterable[SourceRef]:
    problems = source.problems
    sent_ids: set[int] = set()
    for ref in raw_refs:
        where = f"ref {ref['ref_id']}"
        info = infos.get(ref["image_id"])
        ann_ids = _each_once(ref["ann_ids"], where, source)
        lost = next((ann_id for ann_id in ann_ids if ann_id not in annotations), None)
        if info is None or lost is not None:
            what = f"image {ref['image_id']}" if info is None else f"annotation {lost}"
            problems.append(Problem(kind="missing annotation", where=where, message=f"instances.json lacks {what}"))
            continue
        objects = [annotations[ann_id] for ann_id in ann_ids]
        if other := [name for name, each in zip(ann_ids, objects, strict=True) if each.image_id != info.image_id]:
            text = f"annotation {other[0]} is of image {annotations[other[0]].image_id}, the ref of {info.image_id}"
            problems.append(Problem(kind="mismatched annotation", where=where, message=text))
            continue
        yield SourceRef(
            ref_id=ref["ref_id"],
            image=info,
            ann_id=ann_ids[0] if ann_ids else NO_TARGET,
            category_id=objects[0].category_id if objects else NO_TARGET,
            split=ref["split"],
            **_sentences(ref, where, sent_ids, problems),
            box=box_around([each.box for each in objects]),
            objects=len(objects),
            **_mask(objects, info, where, source),
        )


def _each_once(ann_ids: tuple[int, ...], where: str, source: Source) -> tuple[int, ...]:
    """Return the ids without repetitions, which change no union and are counted."""
    once = tuple(dict.fromkeys(ann_ids))
    source.skipped += [
        Problem(kind="repeated annotation", where=where, message=f"ann_id names annotation {name} again")
        for position, name in enumerate(ann_ids)
        if name in ann_ids[:position]
    ]
    return once


def _sentences(ref: dict[str, Any], where: str, seen: set[int], problems: list[Problem]) -> dict[str, Any]:
    kept: list[tuple[int, str]] = []
    for sentence in ref["sentences"]:
        name, text = sentence["sent_id"], sentence["sent"]
        if name in seen:
            problems.append(Problem(kind="duplicate sent_id", where=where, message=f"sent_id {name} again"))
        elif not text:
            problems.append(Problem(kind="no words", where=where, message=f"sentence {name} has no words"))
        else:
            kept.append((name, text))
        seen.add(name)
    return {"sent_ids": tuple(name for name, _ in kept), "expressions": tuple(text for _, text in kept)}


def _mask(objects: Sequence[_Annotation], info: ImageInfo, where: str, source: Source) -> dict[str, Any]:
    """Return the union of the objects' masks and the box of their polygons; an empty mask where there is no object."""
    height, width = info.height, info.width
    if not objects:
        return {"mask_rle": empty_mask(height=height, width=width)}
    forms = [_listed(each.segmentation) for each in objects]
    try:
        parts = [
            encode_any_form(form, height=height, width=width, where=where, skipped=source.skipped) for form in forms
        ]
    except MaskError as error:
        kind = "no mask" if "empty" in str(error) else "malformed mask"
        source.problems.append(Problem(kind=kind, where=where, message=str(error)))
        return {"mask_rle": None}
    outline = box_around([outline_box(form) for form in forms])
    return {"mask_rle": merge_masks(parts, height=height, width=width), "outline": outline}
