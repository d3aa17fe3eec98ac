"""Prepare a set: read and check everything, then write parquet, tokenizer and manifest, or nothing."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.masks import mask_area
from pipeline.data.prepared.fingerprint import file_digest, file_fingerprint, rows_digest, set_fingerprint
from pipeline.data.prepared.input_signature import source_signature
from pipeline.data.prepared.manifest import (
    EMBEDDED,
    IMAGE_SCHEMA,
    MANIFEST,
    PREPARED_VERSION,
    REF_SCHEMA,
    TOKENIZER,
    Manifest,
    SplitCounts,
    load_manifest,
    manifest_json,
    ordered_splits,
    relative_image_folder,
)
from pipeline.data.prepared.selection import OnBadRef, Selection, leave_out_images, require_usable, select_refs
from pipeline.data.prepared.verification import is_intact
from pipeline.data.readers.annotations import Source, SourceRef
from pipeline.data.readers.images import inspect_images, read_image_file
from pipeline.data.storage import Place, open_place
from sharedris.errors import InputError
from sharedris.sentencepiece_tokenizer import SentencePieceTokenizer, train_tokenizer

TOKENIZER_VOCABULARY = 1024
"""Vocabulary size of a tokenizer trained here: that of the tiny scale."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Result of `prepare_source`; `written` is false where the same input had been prepared before."""

    manifest: Manifest
    written: bool


def prepare_source(
    source: Source,
    out: str | Path,
    *,
    tokenizer: Path | None = None,
    sentences: Sequence[str] = (),
    read_images: bool = True,
    embed_images: bool = False,
    lower_case: bool = False,
    on_bad_ref: OnBadRef = "error",
) -> Prepared:
    """Write a set that was read into `OUT/SET`.

    Args:
        source: as a reader (`read_refer`, `read_custom`) returned it.
        out: local path or URI.
        tokenizer: a sentencepiece model; None trains one.
        sentences: the corpus of that training; empty for the sentences of the training split.
        read_images: false trusts the annotations and leaves the image digests empty.
        embed_images: puts the image files into the prepared set.
        lower_case: trains a tokenizer that reads all sentences in lower case.
        on_bad_ref: "error" refuses a source with errors, "skip" leaves their refs out and counts them by kind.

    Raises:
        InputError: when anything is wrong with the input; nothing has been written then.
    """
    if embed_images and not read_images:
        raise InputError("--embed-images needs the images", "Leave out --no-images")
    if lower_case and tokenizer is not None:
        raise InputError("--lower-case is for a tokenizer that is trained", "Leave out --lower-case or --tokenizer")
    place = open_place(out) / source.set_name
    selection = select_refs(source, on_bad_ref)
    signature = source_signature(
        source,
        tokenizer,
        sentences,
        read_images=read_images,
        embed_images=embed_images,
        lower_case=lower_case,
        skips=on_bad_ref == "skip",
    )
    earlier = _readable(out, source.set_name) if (place / MANIFEST).exists() else None
    usable = on_bad_ref == "skip" or not selection.problems
    if usable and earlier is not None and earlier.signature == signature and is_intact(earlier):
        return Prepared(manifest=earlier, written=False)
    digests = _inspected(selection, source, on_bad_ref) if read_images else {}
    require_usable(selection, source, on_bad_ref)
    source = replace(source, refs=selection.refs)
    parts = ordered_splits({ref.split for ref in source.refs})
    with tempfile.TemporaryDirectory(prefix="sharedris-prepare-") as folder:
        manifest = _write_parts(Path(folder), source, parts, digests, tokenizer, sentences, embed_images, lower_case)
        manifest = replace(manifest, signature=signature, images_read=read_images, prepared_root=str(out))
        manifest = replace(manifest, image_folder=relative_image_folder(source.image_root, place))
        manifest = replace(manifest, skipped=dict(selection.skipped), warnings=dict(selection.warnings))
        (Path(folder) / MANIFEST).write_bytes(manifest_json(manifest))
        _publish(Path(folder), place)
    return Prepared(manifest=manifest, written=True)


def _inspected(selection: Selection, source: Source, on_bad_ref: OnBadRef) -> dict[str, str]:
    """Return the digests of the images, and leave out the refs of those that cannot be used."""
    # Where the set is refused, the images of bad refs are inspected as well, so that one line names all errors.
    refs = selection.refs if on_bad_ref == "skip" else source.refs
    digests, bad_images = inspect_images((ref.image for ref in refs), source.image_root)
    leave_out_images(selection, bad_images)
    return digests


def _readable(out: str | Path, set_name: str) -> Manifest | None:
    try:
        return load_manifest(out, set_name)
    except InputError:
        return None  # damaged or of another version: prepare it again


def _write_parts(
    folder: Path,
    source: Source,
    parts: list[str],
    digests: dict[str, str],
    tokenizer: Path | None,
    sentences: Sequence[str],
    embed: bool,
    lower_case: bool,
) -> Manifest:
    counts: dict[str, SplitCounts] = {}
    rows: dict[str, str] = {}
    files: dict[str, str] = {}
    for part in parts:
        table = ref_table([ref for ref in source.refs if ref.split == part], digests)
        counts[part], rows[part] = count_table(table), rows_digest(table)
        path = folder / f"{part}.parquet"
        pq.write_table(table, path, compression="zstd", write_page_checksum=True)
        files[part] = file_digest(path.read_bytes())
    training = _write_tokenizer(folder / TOKENIZER, source, tokenizer, sentences, lower_case)
    tokenizer_fingerprint = file_fingerprint((folder / TOKENIZER).read_bytes())
    if embed:
        _write_images(folder / EMBEDDED, source)
    return Manifest(
        schema_version=PREPARED_VERSION,
        set=source.set_name,
        family=source.family,
        image_root=str(source.image_root),
        embedded=embed,
        images_read=True,
        splits=counts,
        fingerprint=set_fingerprint(source.family, rows, tokenizer_fingerprint, version=PREPARED_VERSION),
        tokenizer_fingerprint=tokenizer_fingerprint,
        tokenizer_training=training,
        signature="",
        source=tuple(str(path) for path in source.files),
        rows_digests=rows,
        file_digests=files,
    )


def ref_table(refs: list[SourceRef], digests: dict[str, str]) -> pa.Table:
    """Return the rows of a split, in the order of the source."""
    areas = [_area(ref) for ref in refs]
    columns = {
        "ref_id": [ref.ref_id for ref in refs],
        "image_id": [ref.image.image_id for ref in refs],
        "ann_id": [ref.ann_id for ref in refs],
        "category_id": [ref.category_id for ref in refs],
        "file_name": [ref.image.file_name for ref in refs],
        "image_digest": [digests.get(ref.image.file_name, "") for ref in refs],
        "height": [ref.image.height for ref in refs],
        "width": [ref.image.width for ref in refs],
        "mask_rle": [ref.mask_rle for ref in refs],
        "area": areas,
        "area_ratio": [area / (ref.image.height * ref.image.width) for area, ref in zip(areas, refs, strict=True)],
        "sent_ids": [ref.sent_ids for ref in refs],
        "expressions": [ref.expressions for ref in refs],
    }
    return pa.table(columns, schema=REF_SCHEMA)


def _area(ref: SourceRef) -> int:
    assert ref.mask_rle is not None  # refs without a mask are problems, raised before
    return mask_area(ref.mask_rle, height=ref.image.height, width=ref.image.width)


def count_table(table: pa.Table) -> SplitCounts:
    """Return images, refs and expressions of a split's rows."""
    images = len(table["image_id"].unique())
    return SplitCounts(
        images=images, refs=table.num_rows, expressions=len(table["expressions"].combine_chunks().flatten())
    )


def _write_tokenizer(
    path: Path, source: Source, given: Path | None, sentences: Sequence[str], lower_case: bool
) -> tuple[str, ...]:
    """Copy the given tokenizer, or train one; return the splits it was trained on, none where it was given."""
    if given is not None:
        SentencePieceTokenizer(given, 3)  # raises InputError for a file that is not a sentencepiece model
        shutil.copyfile(given, path)
        return ()
    if sentences:
        train_tokenizer(sentences, path, TOKENIZER_VOCABULARY, lower_case=lower_case)
        return ("train",)
    parts = ordered_splits({ref.split for ref in source.refs})
    # A set without training sentences (a val/test download) still needs a tokenizer; the manifest records this.
    trained = ("train",) if "train" in parts else tuple(parts)
    texts = (text for ref in source.refs if ref.split in trained for text in ref.expressions)
    train_tokenizer(texts, path, TOKENIZER_VOCABULARY, lower_case=lower_case)
    return trained


def _write_images(path: Path, source: Source) -> None:
    """Write one record batch per image, uncompressed: each is then read separately, locally without a copy."""
    names = sorted({ref.image.file_name for ref in source.refs})
    schema = IMAGE_SCHEMA.with_metadata({"file_names": "\n".join(names)})
    with pa.ipc.new_file(str(path), schema) as writer:
        for name in names:
            content = read_image_file(source.image_root, name)
            writer.write_batch(pa.record_batch([[name], [content]], schema=schema))


def _publish(folder: Path, place: Place) -> None:
    """Move finished files to their place: locally by one rename, elsewhere with the manifest last.

    A local set that is there already is renamed away first, since a rename cannot replace a folder with files in it.
    """
    if place.is_local:
        target = Path(place.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
        try:
            shutil.copytree(folder, fresh)
        except shutil.Error as error:  # one for all files: the first of them says what the system said
            shutil.rmtree(fresh, ignore_errors=True)
            reason = str(error.args[0][0][2])
            if f"[Errno {errno.ENOSPC}]" in reason:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from None
            raise InputError(f"{target} cannot be written: {reason}", "Check the folder") from None
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        if target.exists():
            old = fresh.with_suffix(".old")
            target.rename(old)
            fresh.rename(target)
            shutil.rmtree(old)
        else:
            fresh.rename(target)
        return
    place.delete()
    names = sorted((path.name for path in folder.iterdir()), key=lambda name: name == MANIFEST)
    for name in names:
        (place / name).write_bytes((folder / name).read_bytes())


def counts_text(manifest: Manifest) -> str:
    """Return the lines that preparing prints: images, refs, expressions per split."""
    out = io.StringIO()
    width = max(len(part) for part in manifest.splits)
    print(f"{'split':<{width}}  {'images':>8}  {'refs':>8}  {'expressions':>11}", file=out)
    for part, count in manifest.splits.items():
        print(f"{part:<{width}}  {count.images:>8,}  {count.refs:>8,}  {count.expressions:>11,}", file=out)
    return out.getvalue()
