"""The result of every annotation reader, for prepare and check: refs with masks, and all problems found."""

from __future__ import annotations

import ntpath
import re
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.data.readers.field_values import joined_surrogates, shown
from sharedris.errors import InputError, printable
from sharedris.tokenizer import has_words

SHOWN_PROBLEMS = 3

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """An image as the annotations describe it; sizes in pixels, file_name relative to the image root."""

    image_id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRef:
    """One object with its expressions; in some sets several objects, or none.

    Attributes:
        ann_id: of the object, the first of several, -1 for none.
        mask_rle: compressed RLE counts at the image's size, None where the annotation has no usable mask.
        box: x, y, width, height as annotated, None where absent.
        outline: the box of the polygons as annotated, None where the mask is of another form.
        objects: how many annotated objects the expressions name; 0 has an empty mask.
    """

    ref_id: int
    image: ImageInfo
    ann_id: int
    category_id: int
    split: str
    sent_ids: tuple[int, ...]
    expressions: tuple[str, ...]
    mask_rle: bytes | None
    box: Box | None = None
    outline: Box | None = None
    objects: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem of the input: its kind (a key to count by), where, and what."""

    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.message}")


class TemporaryImages:
    """A folder that is removed with the last object that refers to this one."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sharedris-images-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


@dataclass(kw_only=True)
class Source:
    """A set as read, before anything is written.

    Attributes:
        problems: errors of single refs.
        skipped: what was left out of refs that are usable without it.
        temporary_images: keeps unpacked images for as long as this object or a copy of it lives; a prepared set has to
            embed them.
    """

    set_name: str
    family: str
    image_root: Path
    files: tuple[Path, ...]
    check_command: str = "sharedris data check"
    refs: list[SourceRef] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skipped: list[Problem] = field(default_factory=list)
    temporary_images: TemporaryImages | None = None


def raise_problems(problems: Iterable[Problem], *, set_name: str, check_hint: str) -> None:
    """Raise one line for all problems: how many of each kind, and the first few in full.

    Raises:
        InputError: when there is any problem.
    """
    found = list(problems)
    if not found:
        return
    kinds = Counter(problem.kind for problem in found)
    first = "; ".join(str(problem) for problem in found[:SHOWN_PROBLEMS])
    counted = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    raise InputError(f"{set_name} cannot be prepared ({counted}): {first}", check_hint)


def check_file_name(file_name: object) -> str:
    """Return a file name that stays below the image root; backslashes, as Windows writes them, become slashes.

    Raises:
        ValueError: for an absolute path, a drive, "..", a control character or half a character.
    """
    if not isinstance(file_name, str) or not file_name:
        raise ValueError(f"file_name {shown(file_name)} is not a name")
    file_name = joined_surrogates(file_name, "file_name").replace("\\", "/")
    path = PurePosixPath(file_name)
    bad = path.is_absolute() or ".." in path.parts or ntpath.splitdrive(file_name)[0]
    if bad or re.search(r"[\x00-\x1f\x7f-\x9f]", file_name):
        raise ValueError(f"file_name {shown(file_name)} leaves the image folder")
    return str(path)


def clean_expression(text: object) -> str:
    """Return an expression with single spaces; empty if it has no words.

    Raises:
        ValueError: for half a character (a lone surrogate).
    """
    words = " ".join(joined_surrogates(text, "the expression").split()) if isinstance(text, str) else ""
    return words if has_words(words) else ""
