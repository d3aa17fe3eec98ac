"""The expressions of a prepared split as predictions are matched with them: by id, with size and true mask of each.

Array names: N expressions, in the order of their `index`; R refs.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.data.catalog import parse_split
from pipeline.data.dataset.transforms import resize_mask
from pipeline.data.masks import MaskError, decode_mask, encode_mask, mask_area
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.split_table import read_split
from pipeline.data.run_lengths import filled_counts
from pipeline.predictions.form import SentenceKey
from sharedris.errors import InputError

_NO_PLACES: tuple[int, ...] = ()


class Targets:
    """The true masks of a split, at the images' own sizes or at one input size.

    Args:
        prepared_root: folder or URI that `sharedris data prepare` wrote to.
        split: in full, `refcoco_unc/testA`.
        input_size: side in pixels at which masks are compared; None for the images' own sizes.

    Raises:
        InputError: when the set is not prepared, the split does not exist or is empty, or a file is unreadable.
    """

    def __init__(self, prepared_root: str, split: str, *, input_size: int | None = None) -> None:
        self.split, self.input_size = split, input_size
        set_name, part = parse_split(split)
        self.manifest = load_manifest(prepared_root, set_name)
        table = read_split(self.manifest, part).combine_chunks()
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        numbers = ("ref_id", "image_id", "height", "width", "area_ratio")
        self._of_ref = {name: columns[name].to_numpy() for name in numbers}
        self._file_names, self._masks = columns["file_name"], columns["mask_rle"]
        self._expressions = columns["expressions"].flatten()
        self.sent_ids = columns["sent_ids"].flatten().to_numpy()
        self._ends = columns["expressions"].offsets.to_numpy()
        self.refs = np.repeat(np.arange(len(table), dtype=np.int32), np.diff(self._ends))
        self._compared: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.refs)

    @cached_property
    def _by_sentence(self) -> dict[int, tuple[int, ...]]:
        """Return the places of each sent_id; sets of a user's own may have one twice."""
        found: dict[int, tuple[int, ...]] = {}
        for place, sent_id in enumerate(self.sent_ids.tolist()):
            found[sent_id] = (*found.get(sent_id, ()), place)
        return found

    @cached_property
    def _by_ref(self) -> dict[int, int]:
        return {ref_id: row for row, ref_id in enumerate(self._of_ref["ref_id"].tolist())}

    def places(self, key: SentenceKey) -> tuple[int, ...]:
        """Return the indices of the expressions that a key names; several where one text stands twice in a ref."""
        if key.sent_id is not None:
            return self._by_sentence.get(key.sent_id, _NO_PLACES)
        row = self._by_ref.get(key.ref_id) if key.ref_id is not None else None
        if row is None:
            return _NO_PLACES
        places = range(int(self._ends[row]), int(self._ends[row + 1]))
        if key.number is not None:
            return (places[key.number],) if 0 <= key.number < len(places) else _NO_PLACES
        return tuple(place for place in places if self.words(place) == key.words)

    def words(self, place: int) -> str:
        """Return an expression as CRIS names a file by it."""
        return str(self._expressions[place].as_py()).strip().replace(" ", "_")

    def size(self, place: int) -> tuple[int, int]:
        """Return (height, width) at which an expression's masks are compared."""
        if self.input_size is not None:
            return self.input_size, self.input_size
        return self.original_size(int(self.refs[place]))

    def original_size(self, row: int) -> tuple[int, int]:
        """Return (height, width) of a ref's image."""
        return int(self._of_ref["height"][row]), int(self._of_ref["width"][row])

    def mask(self, place: int) -> bytes:
        """Return the compressed RLE counts of an expression's true mask at the size of the comparison.

        Raises:
            InputError: for a prepared mask that does not fill its image.
        """
        row = int(self.refs[place])
        if row not in self._compared:  # the sentences of a ref share its mask
            self._compared[row] = self._compared_mask(row)
        return self._compared[row]

    def _compared_mask(self, row: int) -> bytes:
        height, width = self.original_size(row)
        try:
            counts = filled_counts(self._masks[row].as_py(), height=height, width=width)
        except MaskError as error:
            where = f"{self.split}, ref {self._of_ref['ref_id'][row]}"
            raise InputError(f"{where}: its prepared mask is damaged: {error}", "Prepare the set again") from None
        if self.input_size is None:
            return counts
        return encode_mask(resize_mask(decode_mask(counts, height=height, width=width), self.input_size))

    def original_areas(self) -> np.ndarray:
        """Return the object pixels of each expression's true mask at its image's size, int64 [N]."""
        masks = self._masks.to_pylist()
        sizes = map(self.original_size, range(len(masks)))
        areas = [mask_area(mask, height=size[0], width=size[1]) for mask, size in zip(masks, sizes, strict=True)]
        return np.array(areas, dtype=np.int64)[self.refs]

    def columns(self) -> pd.DataFrame:
        """Return the columns of per-sample rows that say which sample is meant, in the order of their index."""
        refs = self.refs
        return pd.DataFrame(
            {
                "index": np.arange(len(self), dtype=np.int64),
                "image_id": self._of_ref["image_id"][refs],
                "file_name": self._file_names.take(refs).to_pylist(),
                "ref_id": self._of_ref["ref_id"][refs],
                "sent_id": self.sent_ids,
                "expression": self._expressions.to_pylist(),
                "height": self._of_ref["height"][refs],
                "width": self._of_ref["width"][refs],
                "area_ratio": self._of_ref["area_ratio"][refs],
            }
        )
