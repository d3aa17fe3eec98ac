"""Read the image files of a set, and check all of them before training: present, decodable, of the annotated size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.data.readers.annotations import ImageInfo, Problem
from sharedris.pixels import MAX_FILE_BYTES, ImageError, check_pixels, image_size
from sharedris.regular_file import UnreadableFileError, read_regular

_THREADS = 2


def inspect_images(infos: Iterable[ImageInfo], root: Path) -> tuple[dict[str, str], dict[str, Problem]]:
    """Read and decode each image once.

    Returns:
        By file name the digest of each good file, and the problem of each other one, in the order given.
    """
    unique = list({info.file_name: info for info in infos}.values())
    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(lambda info: _inspect(info, root), unique, chunksize=16))
    digests: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    for info, (digest, problem) in zip(unique, results, strict=True):
        if problem is None:
            digests[info.file_name] = digest
        else:
            problems[info.file_name] = problem
    return digests, problems


def read_image_file(root: Path, file_name: str) -> bytes:
    """Return the bytes of an image file of a set.

    Raises:
        UnreadableFileError: when it is missing, is not a regular file, is too large, or links out of the image root.
    """
    return read_regular(Path(root) / file_name, most_bytes=MAX_FILE_BYTES, root=root)


def _inspect(info: ImageInfo, root: Path) -> tuple[str, Problem | None]:
    where = str(Path(root) / info.file_name)
    try:
        content = read_image_file(root, info.file_name)
    except UnreadableFileError as error:
        kind = "missing image" if error.missing else "unreadable image"
        return "", Problem(kind=kind, where=where, message=error.reason)
    if problem := content_problem(content, info, where=where):
        return "", problem
    return content_digest(content), None


def content_problem(content: bytes, info: ImageInfo, *, where: str) -> Problem | None:
    """Return what is wrong with the bytes of an image, if anything.

    The size is compared before any pixel is decoded, so a decompression bomb is never unpacked.
    """
    try:
        height, width = image_size(content, name=where)
        if (height, width) != (info.height, info.width):
            message = f"is {height} x {width} pixels, the annotation says {info.height} x {info.width}"
            if (width, height) == (info.height, info.width):
                message += "; annotate the image as a viewer shows it, with its EXIF orientation applied"
            return Problem(kind="image size", where=where, message=message)
        check_pixels(content, name=where)
    except ImageError as error:
        return Problem(kind="undecodable image", where=where, message=f"does not decode: {error.reason}")
    return None


def content_digest(content: bytes) -> str:
    """Return 32 hex digits of a file's bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
