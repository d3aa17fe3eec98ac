"""Predictions as a folder of PNG, `.npy` or `.npz` files named by sentence, one `.npz` of all, or CRIS's own folder.

A name is a sent_id (`1234.png`), or a ref_id and the number of the sentence in its ref from 0 (`567_0.png`).
"""

from __future__ import annotations

import io
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pipeline.data.masks import MaskError
from pipeline.data.readers.field_values import shown, whole_number
from pipeline.predictions.form import Prediction, SentenceKey
from pipeline.predictions.stored_arrays import mask_of_npy, masks_of_npz
from sharedris.errors import InputError
from sharedris.pixels import MAX_FILE_BYTES, ImageError, decode_mask_image
from sharedris.regular_file import UnreadableFileError, open_regular, read_regular

_THREADS, _AHEAD = 2, 4
SUFFIXES = (".png", ".npy", ".npz")
_NAME = re.compile(r"(\d{1,19})(?:[_-](\d{1,9}))?")
CRIS_NAME = re.compile(r"(\d{1,19})-iou=(?:\d+\.\d+|nan)-(.*)\.png", re.DOTALL)
"""`visualize` of CRIS (engine/engine.py, `inference`): segment id, which is the ref's, IoU, and the sentence."""


def names_in(folder: Path) -> list[str]:
    """Return the names of a folder's entries, sorted; those that begin with a dot are left out."""
    return sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))


def read_masks(folder: Path) -> Iterator[Prediction]:
    """Yield the prediction of each PNG, `.npy` and `.npz` file; a `.npz` file holds one array.

    Raises:
        InputError: when there is none.
    """
    names = [name for name in names_in(folder) if Path(name).suffix.lower() in SUFFIXES]
    if not names:
        raise InputError(f"{folder} has no .png, .npy or .npz file", "Give the folder that the masks lie in")
    yield from _of_files(folder, ((name, *_key(Path(name).stem)) for name in names))


def read_archive(path: Path) -> Iterator[Prediction]:
    """Yield the prediction of each array of one `.npz` file, whose names are those of the files of a folder.

    Raises:
        InputError: when the file cannot be read.
    """
    with open_regular(path) as stream:
        try:
            for name, mask in masks_of_npz(stream):
                where = f"{path.name}[{shown(name)}]"
                yield _checked(where, mask, *_key(name))
        except MaskError as error:
            raise InputError(f"{path} is not a readable .npz file: {error}", "Write it again") from None


def read_cris(folder: Path) -> Iterator[Prediction]:
    """Yield the prediction of each file that CRIS's test script writes with `visualize: True`; images are skipped."""
    matches = filter(None, map(CRIS_NAME.fullmatch, names_in(folder)))
    yield from _of_files(
        folder, ((match[0], SentenceKey(ref_id=int(match[1]), words=match[2]), "") for match in matches)
    )


def _key(stem: str) -> tuple[SentenceKey | None, str]:
    """Return the key that a name stands for, or why there is none."""
    match = _NAME.fullmatch(stem)
    try:
        if match is None:
            raise ValueError("its name is not a sent_id, nor REF_NUMBER")
        first = whole_number(match[1], "its name")
    except ValueError as error:
        return None, str(error)
    return (SentenceKey(first) if match[2] is None else SentenceKey(ref_id=first, number=int(match[2]))), ""


def _of_files(folder: Path, named: Iterable[tuple[str, SentenceKey | None, str]]) -> Iterator[Prediction]:
    """Yield the predictions of files in their order; a few are decoded ahead, which takes most of the time."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[Prediction]] = deque()
        for name, key, problem in named:
            waiting.append(pool.submit(_of_file, folder, name, key, problem))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _of_file(folder: Path, name: str, key: SentenceKey | None, problem: str) -> Prediction:
    if key is None:
        return Prediction(shown(name), None, problem=problem)
    try:
        mask = _decode(read_regular(folder / name, most_bytes=MAX_FILE_BYTES, root=folder), name)
    except (ImageError, UnreadableFileError) as error:
        return Prediction(shown(name), key, problem=error.reason)
    except MaskError as error:
        return Prediction(shown(name), key, problem=str(error))
    return Prediction(shown(name), key, mask)


def _decode(content: bytes, name: str) -> np.ndarray:
    suffix = Path(name).suffix.lower()
    if suffix == ".png":
        return decode_mask_image(content, name=name)
    if suffix == ".npy":
        return mask_of_npy(content)
    arrays = list(masks_of_npz(io.BytesIO(content)))
    if len(arrays) != 1:
        raise MaskError(f"it holds {len(arrays)} arrays, not one")
    mask = arrays[0][1]
    if isinstance(mask, MaskError):
        raise mask
    return mask


def _checked(where: str, mask: np.ndarray | MaskError, key: SentenceKey | None, problem: str) -> Prediction:
    if isinstance(mask, MaskError):
        return Prediction(where, key, problem=str(mask))
    return Prediction(where, key, mask, problem)
