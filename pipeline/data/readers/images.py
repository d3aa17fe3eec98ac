"""Check every image of a set before training: present, decodable, of the annotated size."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipeline.data.readers.annotations import ImageInfo, Problem

MAX_FILE_BYTES = 256 << 20
_THREADS = 2


def inspect_images(infos: Iterable[ImageInfo], root: Path) -> tuple[dict[str, str], list[Problem]]:
    """Read and decode each image once.

    Returns:
        The digest of each good file by file name, and a problem for each other one, in the order given.
    """
    unique = list({info.file_name: info for info in infos}.values())
    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(lambda info: _inspect(info, root), unique, chunksize=16))
    digests: dict[str, str] = {}
    problems: list[Problem] = []
    for info, (digest, problem) in zip(unique, results, strict=True):
        if problem is None:
            digests[info.file_name] = digest
        else:
            problems.append(problem)
    return digests, problems


def _inspect(info: ImageInfo, root: Path) -> tuple[str, Problem | None]:
    path = Path(root) / info.file_name
    where = str(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return "", Problem(kind="undecodable image", where=where, message="file is larger than 256 MiB")
        content = path.read_bytes()
    except OSError as error:
        return "", Problem(kind="missing image", where=where, message=error.strerror or "cannot be read")
    if reason := decode_problem(content, height=info.height, width=info.width):
        kind = "image size" if reason.startswith("is ") else "undecodable image"
        return "", Problem(kind=kind, where=where, message=reason)
    return content_digest(content), None


def content_digest(content: bytes) -> str:
    """Return 32 hex digits of a file's bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def decode_problem(content: bytes, *, height: int, width: int) -> str:
    """Return why these bytes are not an image of that size, or an empty string.

    The size is compared before any pixel is decoded, so a decompression bomb is never unpacked. JPEGs are decoded at
    an eighth of their size: that reads every byte at a third of the cost.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content))
            if image.size != (width, height):
                return f"is {image.height} x {image.width} pixels, the annotation says {height} x {width}"
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
    except UnidentifiedImageError:
        return "does not decode: not an image"
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        return f"does not decode: {error}"
    return ""
