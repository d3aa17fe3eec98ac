"""The format of a prepared set: `SET/dataset.json` next to the parquet files, and the schemas of both.

ROOT/SET/dataset.json       this manifest; written last, so a set without it is not prepared
ROOT/SET/SPLIT.parquet      a row per ref (REF_SCHEMA)
ROOT/SET/tokenizer.model    the sentencepiece model of the set's sentences
ROOT/SET/images.arrow       with --embed-images: a row per image (IMAGE_SCHEMA)
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.data.catalog import SETS, check_set_name, check_split_name, split_sort_key
from pipeline.data.prepared.fingerprint import file_fingerprint, set_fingerprint
from pipeline.data.storage import Place, open_place
from sharedris.config_values import checked_value
from sharedris.errors import InputError

PREPARED_VERSION = 1
MANIFEST = "dataset.json"
TOKENIZER = "tokenizer.model"
EMBEDDED = "images.arrow"

REF_SCHEMA = pa.schema(
    [
        ("ref_id", pa.int64()),
        ("image_id", pa.int64()),
        ("ann_id", pa.int64()),
        ("category_id", pa.int64()),
        ("file_name", pa.string()),  # relative to the manifest's image_root
        ("image_digest", pa.string()),  # 32 hex digits of the file's bytes; empty where images were not read
        ("height", pa.int32()),  # pixels
        ("width", pa.int32()),
        ("mask_rle", pa.binary()),  # compressed COCO RLE counts, height x width
        ("area", pa.int64()),  # object pixels
        ("area_ratio", pa.float64()),  # object pixels / image pixels
        ("sent_ids", pa.list_(pa.int64())),
        ("expressions", pa.list_(pa.string())),
    ]
)

IMAGE_SCHEMA = pa.schema([("file_name", pa.string()), ("content", pa.binary())])


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """Size of a prepared split."""

    images: int
    refs: int
    expressions: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `dataset.json`.

    Attributes:
        image_root: absolute folder of the images at preparation; unused where they are embedded.
        fingerprint: of rows, image bytes and tokenizer; independent of where the files are.
        signature: of the input files; if it is the same, preparing again does nothing.
        tokenizer_training: the splits whose sentences the tokenizer was trained on; empty where it was given.
        rows_digests: split -> digest of its rows; empty in a set of version 0.1, as are the two below.
        file_digests: split -> SHA-256 of its parquet file.
        skipped: kind -> refs, sentences or parts of polygons that were left out; not in the file where there are none.
        warnings: kind -> cases that `sharedris data check` warns about; likewise.
        image_folder: the images relative to this set's folder, so that both can be moved together.
    """

    schema_version: int
    set: str
    family: str
    image_root: str
    embedded: bool
    images_read: bool
    splits: dict[str, SplitCounts]
    fingerprint: str
    tokenizer_fingerprint: str
    tokenizer_training: tuple[str, ...]
    signature: str
    source: tuple[str, ...]
    rows_digests: dict[str, str] = field(default_factory=dict)
    file_digests: dict[str, str] = field(default_factory=dict)
    image_folder: str = ""
    skipped: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    prepared_root: str = ""

    @property
    def place(self) -> Place:
        return open_place(self.prepared_root) / self.set

    @property
    def has_digests(self) -> bool:
        """Whether the files of the set can be compared with this manifest without reading all rows."""
        return set(self.file_digests) == set(self.rows_digests) == set(self.splits)

    @property
    def images(self) -> str:
        """The folder of the image files: where it was moved together with the set, else where it was prepared from."""
        if self.image_folder and self.place.is_local:
            with contextlib.suppress(OSError, ValueError):  # no name of a folder at all
                moved = (Path(self.place.path) / self.image_folder).resolve()
                if moved.is_dir():
                    return str(moved)
        return self.image_root

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer as a local file; downloaded to the temporary folder if the set is not local.

        Raises:
            InputError: when it is missing or is not the tokenizer that the set was prepared with.
        """
        place = self.place / TOKENIZER
        if not place.is_local:
            return _fetch(place, self.tokenizer_fingerprint)
        _require_tokenizer(place, place.read_bytes(), self.tokenizer_fingerprint)
        return Path(place.path)

    def split_place(self, part: str) -> Place:
        """Return the place of the rows of a split."""
        return self.place / f"{part}.parquet"


def _fetch(place: Place, fingerprint: str) -> Path:
    path = Path(tempfile.gettempdir()) / f"sharedris-tokenizer-{fingerprint}.model"
    if not path.is_file() or file_fingerprint(path.read_bytes()) != fingerprint:
        content = place.read_bytes()
        _require_tokenizer(place, content, fingerprint)
        open_place(path).write_bytes(content)
    return path


def _require_tokenizer(place: Place, content: bytes, fingerprint: str) -> None:
    got = file_fingerprint(content)
    if got != fingerprint:
        raise InputError(
            f"{place} is not the tokenizer that the set was prepared with: its fingerprint is {got}, "
            f"the manifest has {fingerprint}",
            "Restore the file, or prepare the set again",
        )


def relative_image_folder(image_root: str | Path, place: Place) -> str:
    """Return the folder of the images relative to that of the set; empty where the set is not a local folder."""
    if not place.is_local or "://" in str(image_root):
        return ""
    return os.path.relpath(Path(image_root).resolve(), Path(place.path).resolve())


def manifest_json(manifest: Manifest) -> bytes:
    """Return the text of `dataset.json`."""
    values = dataclasses.asdict(manifest)
    for name in ("prepared_root", *(name for name in ("skipped", "warnings") if not values[name])):
        del values[name]
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def load_manifest(prepared_root: str | Path, set_name: str) -> Manifest:
    """Return the manifest of a prepared set.

    Raises:
        InputError: when the set is not prepared there, or by another version of this code.
    """
    check_set_name(set_name)
    place = open_place(prepared_root) / set_name / MANIFEST
    if not place.exists():
        raise InputError(f"{set_name} is not prepared in {prepared_root}", _how_to_prepare(set_name, prepared_root))
    try:
        manifest = _parse(place, json.loads(place.read_bytes()), str(prepared_root))
        _require_consistent(place, manifest, set_name)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{place} is damaged", f"Delete {place} and prepare the set again") from None
    return manifest


def _parse(place: Place, values: dict[str, Any], prepared_root: str) -> Manifest:
    version = values.get("schema_version")
    if version != PREPARED_VERSION:
        raise InputError(
            f"{place} has schema version {version}, this code reads {PREPARED_VERSION}", "Prepare the set again"
        )
    newer = sorted(set(values) - {entry.name for entry in dataclasses.fields(Manifest)})
    if newer:  # a field may change what the rows mean: it must not be left out silently
        raise InputError(
            f"{place} is of a newer version of this project: it has {', '.join(map(repr, newer))}",
            "Prepare the set again, or update this project",
        )
    splits: dict[str, SplitCounts] = {}
    for part, counts in values.pop("splits").items():
        check_split_name(values["set"], part)  # it becomes a file name
        splits[part] = SplitCounts(**{name: checked_value(int, count, name) for name, count in counts.items()})
    hints = typing.get_type_hints(Manifest)
    values = {name: checked_value(hints[name], value, name) for name, value in values.items()}
    return Manifest(**{**values, "prepared_root": prepared_root}, splits=splits)


def _require_consistent(place: Place, manifest: Manifest, set_name: str) -> None:
    """Check that name and fingerprint are those of the digests in the manifest.

    Raises:
        InputError: for the manifest of another set, or one that was changed after it was written.
    """
    if manifest.set != set_name:
        raise InputError(f"{place} is the manifest of {manifest.set!r}", f"Prepare {set_name} again")
    if not manifest.has_digests:
        return  # of version 0.1: `read_split` recomputes the fingerprint from all rows
    got = set_fingerprint(
        manifest.family, manifest.rows_digests, manifest.tokenizer_fingerprint, version=PREPARED_VERSION
    )
    if got != manifest.fingerprint:
        raise InputError(
            f"{place} was changed: its digests make the fingerprint {got}, it has {manifest.fingerprint}",
            "Prepare the set again",
        )


def _how_to_prepare(set_name: str, prepared_root: str | Path) -> str:
    if set_name.startswith("toy"):
        return f"Run: sharedris data synthesize --data {set_name}, then sharedris data prepare refer --data {set_name}"
    if set_name in SETS:
        return f"Run: sharedris data prepare refer --root ROOT --data {set_name} --out {prepared_root}"
    own = f"sharedris data prepare custom --data {set_name} --out {prepared_root}"
    return f"Known sets: {', '.join(SETS)}; your own: {own}"


def data_fingerprint(prepared_root: str | Path, sets: Iterable[str]) -> str:
    """Return 16 hex digits of the content of several prepared sets, independent of their order."""
    parts = [f"{name}:{load_manifest(prepared_root, name).fingerprint}" for name in sorted(set(sets))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def prepared_sets(prepared_root: str | Path) -> list[str]:
    """Return the names of the sets that are prepared there."""
    root = open_place(prepared_root)
    return [name for name in root.children() if not name.startswith(".") and (root / name / MANIFEST).exists()]


def ordered_splits(splits: Iterable[str]) -> list[str]:
    """Return split names in the order of the papers."""
    return sorted(splits, key=split_sort_key)
