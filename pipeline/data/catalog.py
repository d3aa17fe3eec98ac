"""Names of the sets and splits, in full and without synonyms, and the counts that were published for them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from sharedris.errors import InputError

SPLIT_ORDER = ("train", "val", "testA", "testB", "test")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Size of a split; None where no number was published."""

    images: int | None = None
    refs: int | None = None
    expressions: int | None = None


Layout = Literal["refer", "grefcoco", "ref-zom", "r-refcoco"]
"""How the refs of a set name their objects; `pipeline.data.readers.targets` reads each of them."""


@dataclass(frozen=True, kw_only=True)
class SetSpec:
    """A set in REFER layout: a file of refs and `FOLDER/instances.json` below a root.

    Attributes:
        family: sets of one family share image ids, by which leakage between them is found.
        published: counts per split as published, and under "all" for the whole set.
        splits_share_images: true where the published splits divide objects and not images.
        layout: `refer` has one object per ref; in the others a sentence may name several objects, or none.
        refs_files: names of the file of refs, of which the first one that is there is read; none stand for
            `refs(SPLIT_BY).p`.
        image_folders: below the root, looked at before the usual ones.
    """

    name: str
    folder: str
    split_by: str
    splits: tuple[str, ...]
    family: str
    published: dict[str, Counts] = field(default_factory=dict)
    splits_share_images: bool = False
    layout: Layout = "refer"
    refs_files: tuple[str, ...] = ()
    image_folders: tuple[str, ...] = ()

    @property
    def may_lack_target(self) -> bool:
        """Whether a sentence of the set may name no object of its image."""
        return self.layout != "refer"


def _counts(images: int | None, refs: int | None, expressions: int | None) -> Counts:
    return Counts(images=images, refs=refs, expressions=expressions)


_UNC = ("train", "val", "testA", "testB")
_UMD = ("train", "val", "test")
_GREFS = ("grefs(unc).json", "grefs(unc).p")
_ROBUST_IMAGES = ("images/mscoco/train2014",)  # as jianzongwu/robust-ref-seg lays them out

# Refs and images: the table of TensorFlow Datasets' ref_coco, counted from REFER's files, and the data sets' papers.
# Expressions: counted from the files in later work (RefCOCO's paper gives 142,209, its files have one more).
_SPECS = (
    SetSpec(
        name="refcoco_unc",
        folder="refcoco",
        split_by="unc",
        splits=_UNC,
        family="coco",
        published={
            "all": _counts(19994, 50000, 142210),
            "train": _counts(16994, 42404, 120624),
            "val": _counts(1500, 3811, 10834),
            "testA": _counts(750, 1975, 5657),
            "testB": _counts(750, 1810, 5095),
        },
    ),
    SetSpec(
        name="refcoco_google",
        folder="refcoco",
        split_by="google",
        splits=_UMD,
        family="coco",
        published={
            "all": _counts(19994, 50000, 142210),
            "train": _counts(19213, 40000, None),
            "val": _counts(4559, 5000, None),
            "test": _counts(4527, 5000, None),
        },
        splits_share_images=True,
    ),
    SetSpec(
        name="refcoco+_unc",
        folder="refcoco+",
        split_by="unc",
        splits=_UNC,
        family="coco",
        published={
            "all": _counts(19992, 49856, 141564),
            "train": _counts(16992, 42278, 120191),
            "val": _counts(1500, 3805, 10758),
            "testA": _counts(750, 1975, 5726),
            "testB": _counts(750, 1798, 4889),
        },
    ),
    SetSpec(
        name="refcocog_umd",
        folder="refcocog",
        split_by="umd",
        splits=_UMD,
        family="coco",
        published={
            "all": _counts(25799, 49822, 95010),
            "train": _counts(21899, 42226, 80512),
            "val": _counts(1300, 2573, 4896),
            "test": _counts(2600, 5023, 9602),
        },
    ),
    SetSpec(
        name="refcocog_google",
        folder="refcocog",
        split_by="google",
        splits=("train", "val"),
        family="coco",
        published={"train": _counts(24698, 44822, 85474), "val": _counts(4650, 5000, 9536)},
        splits_share_images=True,
    ),
    # Totals of the paper (arXiv 2306.00968). It gives none per split, and later releases of the file hold other totals.
    SetSpec(
        name="grefcoco_unc",
        folder="grefcoco",
        split_by="unc",
        splits=_UNC,
        family="coco",
        layout="grefcoco",
        refs_files=_GREFS,
        published={"all": _counts(19994, None, 278232)},
    ),
    # Images of the paper (arXiv 2308.13853), which counts objects and not refs.
    SetSpec(
        name="ref-zom_final",
        folder="ref-zom",
        split_by="final",
        splits=("train", "test"),
        family="coco",
        layout="ref-zom",
        refs_files=("refs(final).p", "Ref-ZOM(final).p", "Ref_ZOM.p"),
        image_folders=("images/trainval2014", "trainval2014"),
        published={
            "all": _counts(55078, None, None),
            "train": _counts(43749, None, None),
            "test": _counts(11329, None, None),
        },
    ),
    *(
        SetSpec(
            name=f"r{name}_{split_by}",
            folder=f"r{name}",
            split_by=split_by,
            splits=splits,
            family="coco",
            layout="r-refcoco",
            image_folders=_ROBUST_IMAGES,
        )
        for name, split_by, splits in (("refcoco", "unc", _UNC), ("refcoco+", "unc", _UNC), ("refcocog", "umd", _UMD))
    ),
    SetSpec(name="toy_unc", folder="toy", split_by="unc", splits=_UNC, family="toy"),
    SetSpec(name="toyplus_unc", folder="toyplus", split_by="unc", splits=_UNC, family="toy"),
    SetSpec(name="toyg_umd", folder="toyg", split_by="umd", splits=_UMD, family="toy"),
    SetSpec(
        name="toyg_none",
        folder="toyg_none",
        split_by="unc",
        splits=_UNC,
        family="toy",
        layout="grefcoco",
        refs_files=_GREFS,
    ),
)
SETS = {spec.name: spec for spec in _SPECS}


def find_set(name: str) -> SetSpec:
    """Return the set of that full name.

    Raises:
        InputError: for any other name; the remedy lists the names there are.
    """
    if name in SETS:
        return SETS[name]
    near = [full for full in SETS if full.split("_")[0] == name.split("_", maxsplit=1)[0]]
    remedy = f"Name it in full: {' or '.join(near)}" if near else f"There are: {', '.join(SETS)}"
    raise InputError(f"unknown set {name!r}", remedy)


def may_lack_target(name: str) -> bool:
    """Return whether a sentence of the set may name no object of its image; an own set must have a target."""
    return name in SETS and SETS[name].may_lack_target


def published_expressions(split: str) -> int:
    """Return the published number of expressions of a split, `refcoco_unc/testA`.

    Raises:
        InputError: where none was published.
    """
    return _known(split, _published(split).expressions)


def published_refs(split: str) -> int:
    """Return the published number of refs of a split.

    Raises:
        InputError: where none was published.
    """
    return _known(split, _published(split).refs)


def _published(split: str) -> Counts:
    name, part = parse_split(split)
    return find_set(name).published.get(part, Counts())


def _known(split: str, number: int | None) -> int:
    if number is None:
        raise InputError(f"{split} has no published size", "Prepare the set to count it")
    return number


def parse_split(split: str) -> tuple[str, str]:
    """Return (set, split) of a split named in full, `refcoco_unc/testA`.

    Raises:
        InputError: when the name is not in full, or a known set does not have that split.
    """
    name, slash, part = split.partition("/")
    if not slash or not name or not part or "/" in part:
        raise InputError(f"{split!r} is not a split in full", "Write SET/SPLIT, for example refcoco_unc/testA")
    check_set_name(name)
    check_split_name(name, part)
    return name, part


def check_set_name(name: str) -> None:
    """Refuse a set name that is not a plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+.-]{0,63}", name):
        raise InputError(f"{name!r} is not a set name", "Use letters, digits, '_', '+', '-' or '.', at most 64")


def check_split_name(name: str, part: str) -> None:
    """Refuse a split that a known set does not have."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", part):
        raise InputError(f"{part!r} is not a split name", "Use letters, digits, '_' or '-', at most 32")
    if name not in SETS or part in SETS[name].splits:
        return
    there = ", ".join(SETS[name].splits)
    if (name, part) == ("refcocog_google", "test"):
        raise InputError(
            "refcocog_google/test does not exist: the Google split never released its test part",
            "Evaluate refcocog_google/val, or refcocog_umd/test",
        )
    raise InputError(f"{name} has no split {part!r}", f"It has: {there}")


def split_sort_key(part: str) -> tuple[int, str]:
    """Order splits as papers print them: train, val, testA, testB, test, then custom ones."""
    return (SPLIT_ORDER.index(part) if part in SPLIT_ORDER else len(SPLIT_ORDER), part)
