"""Inputs of `sharedris check`: original annotations or a prepared set, and the other sets prepared in the same root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.data.dataset.combined import held_out_images
from pipeline.data.dataset.image_store import EmbeddedImages
from pipeline.data.prepared.manifest import EMBEDDED, Manifest, load_manifest, prepared_sets
from pipeline.data.prepared.split_table import image_keys, keys_in, read_split
from pipeline.data.readers.annotations import ImageInfo, Problem, Source, SourceRef
from pipeline.data.readers.images import decode_problem, inspect_images
from pipeline.data.validation.checks import Finding
from sharedris.errors import InputError


def source_of_prepared(manifest: Manifest) -> Source:
    """Return a prepared set as the source that the checks read."""
    source = Source(set_name=manifest.set, family=manifest.family, image_root=Path(manifest.image_root), files=())
    for part in manifest.splits:
        for row in read_split(manifest, part).to_pylist():
            info = ImageInfo(
                image_id=row["image_id"], file_name=row["file_name"], height=row["height"], width=row["width"]
            )
            source.refs.append(
                SourceRef(
                    ref_id=row["ref_id"],
                    image=info,
                    ann_id=row["ref_id"],
                    category_id=0,
                    split=part,
                    sent_ids=tuple(row["sent_ids"]),
                    expressions=tuple(row["expressions"]),
                    mask_rle=row["mask_rle"],
                )
            )
    return source


def image_reader(source: Source, manifest: Manifest | None) -> Callable[[str], bytes]:
    """Return a function from file name to the bytes of the image."""
    if manifest is not None and manifest.embedded:
        return EmbeddedImages(manifest.place / EMBEDDED).content
    return lambda name: (source.image_root / name).read_bytes()


def check_images(source: Source, manifest: Manifest | None) -> list[Problem]:
    """Return a problem for every image that is missing, does not decode or has another size than annotated."""
    infos = {ref.image.file_name: ref.image for ref in source.refs}
    if manifest is None or not manifest.embedded:
        if not source.image_root.is_dir():
            message = f"none of the {len(infos):,} images can be checked"
            return [Problem(kind="no image folder", where=str(source.image_root), message=message)]
        return inspect_images(infos.values(), source.image_root)[1]
    read = image_reader(source, manifest)
    problems = []
    for info in infos.values():
        if reason := decode_problem(read(info.file_name), height=info.height, width=info.width):
            problems.append(Problem(kind="undecodable image", where=info.file_name, message=reason))
    return problems


def neighbour_findings(manifest: Manifest, prepared_root: str) -> list[Finding]:
    """Return, for every other prepared set, how many training images of this one it holds out, and the reverse."""
    findings: list[Finding] = []
    for name in prepared_sets(prepared_root):
        if name == manifest.set:
            continue
        try:
            other = load_manifest(prepared_root, name)
            findings += _held_out(manifest, other) + _held_out(other, manifest)
        except InputError as error:
            findings.append(
                Finding(level="warning", kind="neighbour", message=f"{name} is unreadable: {error.message}")
            )
    return findings


def _held_out(trained: Manifest, other: Manifest) -> list[Finding]:
    if "train" not in trained.splits:
        return []
    table = read_split(trained, "train")
    inside = keys_in(image_keys(trained, table), held_out_images([other]))
    shared = sorted(set(table.filter(inside)["file_name"].to_pylist()))
    if not shared:
        return []
    message = (
        f"{len(shared):,} training images of {trained.set} are held out by {other.set}; "
        "training on both together leaves them out by itself"
    )
    return [Finding(level="note", kind="images held out by another set", message=message, items=tuple(shared))]
