"""An index of published sets, made from a user's own REFER download: ids and hashes, no texts.

The sets' texts and ids are not shipped with the project: their files state no license that allows it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.catalog import SETS
from pipeline.data.copies.records import raw_sentences, records_of_row
from pipeline.data.readers.safe_pickle import load_plain_pickle
from pipeline.files import atomic_writer
from sharedris.errors import InputError
from sharedris.regular_file import open_regular

INDEX_VERSION = 1
_VERSION_KEY = b"sharedris.copies.index"
_MOST_BYTES = 1 << 30
_SALT = b"sharedris refer"

Part = tuple[str, str]
"""Set and split in full."""

_SCHEMA = pa.schema(
    [
        ("set", pa.dictionary(pa.int16(), pa.string())),
        ("split", pa.dictionary(pa.int16(), pa.string())),
        ("ref_id", pa.int64()),
        ("ann_id", pa.int64()),
        ("image_id", pa.int64()),
        ("sentences", pa.list_(pa.int64())),
        ("raw_sentences", pa.list_(pa.int64())),
        ("loose_sentences", pa.list_(pa.int64())),
    ],
    metadata={_VERSION_KEY: str(INDEX_VERSION)},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A published ref.

    Attributes:
        position: in its file, by which a changed order is found.
        sentences: hash of each cleaned sentence.
        raw: hash of each sentence before cleaning.
        loose: hash of each sentence without case, spaces and punctuation.
    """

    part: Part
    position: int
    ref_id: int
    ann_id: int
    image_id: int
    sentences: tuple[int, ...]
    raw: tuple[int, ...]
    loose: tuple[int, ...]

    @property
    def object_key(self) -> tuple[str, int, tuple[int, ...]]:
        """The same for a ref in the unc and in the google split of one set."""
        return SETS[self.part[0]].folder, self.image_id, tuple(sorted(self.loose))


def text_hash(text: str) -> int:
    """Return 63 bits of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, salt=_SALT).digest()) >> 1


def loose_hash(text: str) -> int:
    """Return the hash of the letters and digits of a text, in lower case."""
    return text_hash("".join(letter for letter in text.casefold() if letter.isalnum()))


class ReferenceIndex:
    """Published refs by image, by ref and by sentence."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.by_image: dict[int, list[Entry]] = defaultdict(list)
        self.by_ref: dict[int, list[Entry]] = defaultdict(list)
        self.parts: dict[Part, list[Entry]] = defaultdict(list)
        self._by_sentence: dict[int, list[Entry]] = {}
        for entry in entries:
            self.by_image[entry.image_id].append(entry)
            self.by_ref[entry.ref_id].append(entry)
            self.parts[entry.part].append(entry)

    @property
    def by_sentence(self) -> dict[int, list[Entry]]:
        """Entries by loose hash; made when a copy without ids asks for it."""
        if not self._by_sentence:
            found: dict[int, list[Entry]] = defaultdict(list)
            for entry in self.entries:
                for value in set(entry.loose):
                    found[value].append(entry)
            self._by_sentence = dict(found)
        return self._by_sentence

    def splits_of(self, set_name: str) -> list[str]:
        """Return the splits of a set that the index holds."""
        return [part for name, part in self.parts if name == set_name]


def index_refer(root: Path) -> ReferenceIndex:
    """Return the index of every known set in REFER layout below a folder.

    Raises:
        InputError: when there is none, or a file cannot be read.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root} is not a folder", "Give the folder that holds refcoco, refcoco+ or refcocog")
    entries: list[Entry] = []
    for spec in SETS.values():
        path = Path(root) / spec.folder / f"refs({spec.split_by}).p"
        if spec.layout == "refer" and path.is_file():
            entries += _entries(path, spec.name)
    if not entries:
        raise InputError(f"{root} holds no refs(*).p of a known set", f"Known sets: {', '.join(SETS)}")
    return ReferenceIndex(entries)


def _entries(path: Path, set_name: str) -> Iterator[Entry]:
    refs = load_plain_pickle(path)
    if not isinstance(refs, list | tuple):
        raise InputError(f"{path} does not hold a list of refs", "Get it from its official source")
    return entries_of_refs(refs, set_name, name=str(path))


def entries_of_refs(refs: Sequence[Any], set_name: str, *, name: str) -> Iterator[Entry]:
    """Yield an entry for each ref in REFER's layout.

    Raises:
        InputError: for one without ids; `name` is that of the file.
    """
    for position, ref in enumerate(refs):
        records = list(records_of_row(ref, where=f"[{position}]", split="")) if isinstance(ref, dict) else []
        if len(records) != 1 or records[0].ref_id is None or records[0].image_id is None or records[0].trouble:
            raise InputError(f"{name}[{position}] is not a ref", "Get the annotations from their official source")
        yield _entry((set_name, records[0].split), position, records[0], raw_sentences(ref.get("sentences")))


def _entry(part: Part, position: int, record: Any, raw: tuple[str, ...]) -> Entry:
    return Entry(
        part=part,
        position=position,
        ref_id=record.ref_id,
        ann_id=record.ann_id if record.ann_id is not None else 0,
        image_id=record.image_id,
        sentences=tuple(text_hash(text) for text in record.sentences),
        raw=tuple(text_hash(text) for text in raw),
        loose=tuple(loose_hash(text) for text in record.sentences),
    )


def save_index(index: ReferenceIndex, path: Path) -> None:
    """Write an index as parquet, in one step."""
    columns = {
        "set": [entry.part[0] for entry in index.entries],
        "split": [entry.part[1] for entry in index.entries],
        "ref_id": [entry.ref_id for entry in index.entries],
        "ann_id": [entry.ann_id for entry in index.entries],
        "image_id": [entry.image_id for entry in index.entries],
        "sentences": [entry.sentences for entry in index.entries],
        "raw_sentences": [entry.raw for entry in index.entries],
        "loose_sentences": [entry.loose for entry in index.entries],
    }
    with atomic_writer(Path(path)) as stream:
        pq.write_table(pa.table(columns, schema=_SCHEMA), stream, compression="zstd", write_page_checksum=True)


def load_index(path: Path) -> ReferenceIndex:
    """Return the index that `save_index` wrote.

    Raises:
        InputError: when it is missing, damaged, or of another version.
    """
    remedy = f"Write it again: sharedris data identify --build-index REFER_ROOT --index {path}"
    try:
        with open_regular(Path(path), most_bytes=_MOST_BYTES) as stream:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
            version = (file.schema_arrow.metadata or {}).get(_VERSION_KEY)
            if version != str(INDEX_VERSION).encode() or not file.schema_arrow.equals(_SCHEMA):
                raise InputError(f"{path} is not an index of version {INDEX_VERSION}", remedy)
            table = file.read()
            table.validate(full=True)
    except InputError:
        raise
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:  # names that are no UTF-8 are a ValueError
        lines = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"{path} cannot be read: {lines[0]}", remedy) from None
    if table.num_rows and any(table[name].null_count for name in table.column_names):
        raise InputError(f"{path} is damaged: it has empty cells", remedy)
    if unknown := set(table["set"].unique().to_pylist()) - set(SETS):
        raise InputError(f"{path} indexes the unknown set {sorted(unknown)[0]!r}", remedy)
    return ReferenceIndex(list(_stored(table)))


def _stored(table: pa.Table) -> Iterator[Entry]:
    positions: dict[str, int] = defaultdict(int)
    for row in zip(*(table[name].to_pylist() for name in _SCHEMA.names), strict=True):
        set_name, split, ref_id, ann_id, image_id, sentences, raw, loose = row
        yield Entry(
            part=(set_name, split),
            position=positions[set_name],
            ref_id=ref_id,
            ann_id=ann_id,
            image_id=image_id,
            sentences=tuple(sentences),
            raw=tuple(raw),
            loose=tuple(loose),
        )
        positions[set_name] += 1
