"""A signature of the input files, far cheaper than reading the images, that shows whether they were prepared before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.prepared.manifest import PREPARED_VERSION, REF_SCHEMA
from pipeline.data.readers.annotations import Source
from pipeline.data.storage import file_stamp


def source_signature(
    source: Source,
    tokenizer: Path | None,
    sentences: Sequence[str],
    *,
    read_images: bool,
    embed_images: bool,
    lower_case: bool,
    skips: bool = False,
) -> str:
    """Return 16 hex digits: content of annotations and tokenizer, stamp of each image, options, version."""
    digest = hashlib.sha256(f"{PREPARED_VERSION} {REF_SCHEMA} {read_images} {embed_images} {lower_case}".encode())
    # Images that were unpacked from the annotation files are part of the content of these, wherever they lie now.
    unpacked = source.temporary_images is not None
    digest.update(f"{source.set_name} {'' if unpacked else source.image_root}".encode())
    digest.update(b"skips" if skips else b"")
    digest.update("\n".join(sentences).encode())
    for path in (*source.files, *([tokenizer] if tokenizer else [])):
        if Path(path).is_file():
            with Path(path).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    for ref in source.refs:  # masks may be read from separate files
        digest.update(ref.mask_rle or b"-")
    if read_images and not unpacked:
        for name in sorted({ref.image.file_name for ref in source.refs}):
            digest.update(f"{Path(name).name} {file_stamp(source.image_root / name) or 'absent'}".encode())
    return digest.hexdigest()[:16]
