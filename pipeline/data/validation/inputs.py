"""Inputs of `sharedris data check`: original annotations or a prepared set, and the other sets of the same root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.data.catalog import may_lack_target
from pipeline.data.dataset.combined import held_out_images
from pipeline.data.masks import mask_area
from pipeline.data.prepared.embedded_images import EmbeddedImages
from pipeline.data.prepared.manifest import EMBEDDED, Manifest, load_manifest, prepared_sets
from pipeline.data.prepared.selection import counts_in_words
from pipeline.data.prepared.split_table import image_keys, keys_in, read_split
from pipeline.data.prepared.verification import content_fingerprint
from pipeline.data.readers.annotations import ImageInfo, Problem, Source, SourceRef
from pipeline.data.readers.images import content_digest, content_problem, inspect_images, read_image_file
from pipeline.data.validation.checks import Finding
from sharedris.errors import InputError


def source_of_prepared(manifest: Manifest) -> Source:
    """Return a prepared set as the source that the checks read."""
    source = Source(set_name=manifest.set, family=manifest.family, image_root=Path(manifest.images), files=())
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
                    objects=_objects(row, manifest.set),
                )
            )
    return source


def _objects(row: dict[str, Any], set_name: str) -> int:
    """Return 0 for a ref without a target. As prepared an empty mask is one in sets that may have it, and only there.

    How many objects a mask is of is not prepared: 1 stands for any number.
    """
    if not may_lack_target(set_name):
        return 1
    return min(1, mask_area(row["mask_rle"], height=row["height"], width=row["width"]))


def image_reader(source: Source, manifest: Manifest | None) -> Callable[[str], bytes]:
    """Return a function from file name to the bytes of the image."""
    if manifest is not None and manifest.embedded:
        return EmbeddedImages(manifest.place / EMBEDDED).content
    return lambda name: read_image_file(source.image_root, name)


def check_images(source: Source, manifest: Manifest | None) -> list[Problem]:
    """Return a problem for every image that is missing, does not decode, or is not as annotated or as prepared."""
    infos = {ref.image.file_name: ref.image for ref in source.refs}
    if manifest is not None and manifest.embedded:
        got, problems = _inspect_embedded(infos, manifest)
    elif source.image_root.is_dir():
        got, by_name = inspect_images(infos.values(), source.image_root)
        problems = list(by_name.values())
    else:
        message = f"none of the {len(infos):,} images can be checked"
        return [Problem(kind="no image folder", where=str(source.image_root), message=message)]
    return problems + (_changed_images(got, manifest) if manifest is not None else [])


def _inspect_embedded(infos: dict[str, ImageInfo], manifest: Manifest) -> tuple[dict[str, str], list[Problem]]:
    images = EmbeddedImages(manifest.place / EMBEDDED)
    digests: dict[str, str] = {}
    problems: list[Problem] = []
    for info in infos.values():
        content = images.content(info.file_name)
        digests[info.file_name] = content_digest(content)
        if problem := content_problem(content, info, where=info.file_name):
            problems.append(problem)
    return digests, problems


def _changed_images(got: dict[str, str], manifest: Manifest) -> list[Problem]:
    """Return a problem for every readable image whose bytes are not those that were prepared."""
    prepared: dict[str, str] = {}
    for part in manifest.splits:
        table = read_split(manifest, part)
        prepared.update(zip(table["file_name"].to_pylist(), table["image_digest"].to_pylist(), strict=True))
    message = "is not the image that was prepared: its bytes have changed"
    return [
        Problem(kind="changed image", where=name, message=message)
        for name, digest in got.items()
        if prepared[name] not in ("", digest)
    ]


def content_findings(manifest: Manifest) -> list[Finding]:
    """Recompute the fingerprint from all rows and the tokenizer, and return what does not agree with the manifest."""
    findings: list[Finding] = []
    got = content_fingerprint(manifest)
    if got != manifest.fingerprint:
        message = f"rows and tokenizer make {got}, the manifest has {manifest.fingerprint}: prepare the set again"
        findings.append(Finding(level="error", kind="fingerprint", message=message))
    if not manifest.has_digests:
        message = "prepared by version 0.1, without digests of its files: prepare the set again"
        findings.append(Finding(level="warning", kind="no file digests", message=message))
    if not manifest.images_read:
        message = "prepared with --no-images: a changed image cannot be found"
        findings.append(Finding(level="warning", kind="no image digests", message=message))
    if manifest.skipped:
        findings.append(
            Finding(level="note", kind="left out at preparation", message=counts_in_words(manifest.skipped))
        )
    return findings


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
