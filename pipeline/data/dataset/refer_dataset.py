"""One prepared split as samples: (image, expression, mask), read from arrow columns that workers share.

No Python object is kept per sample: a forked worker shares the pages of the columns, so 142,000 expressions take no
memory in it.
Shapes: S input size, T text tokens, C 3 colors.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from pipeline.data.catalog import parse_split
from pipeline.data.dataset.flip import swap_sides
from pipeline.data.dataset.image_store import ImageStore
from pipeline.data.dataset.transforms import resize_mask
from pipeline.data.masks import decode_mask
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.split_table import image_keys, keys_in, read_split
from sharedris.tokenizer import UnknownPieces
from sharedris.tokenizers import open_tokenizer

_NUMBERS = ("ref_id", "image_id", "height", "width", "area_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleInfo:
    """Identity of a sample, for per-sample rows; mask and expression as prepared (mask_rle at the original size)."""

    index: int
    split: str
    image_id: int
    file_name: str
    ref_id: int
    sent_id: int
    expression: str
    height: int
    width: int
    area_ratio: float
    mask_rle: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample at the model's input size; `flipped` is true if image, mask and sentence were mirrored."""

    image_CSS: torch.Tensor  # uint8
    token_ids_T: np.ndarray  # int64
    padding_T: np.ndarray  # bool
    mask_SS: np.ndarray  # uint8, 0 or 1
    info: SampleInfo
    flipped: bool


class ReferDataset(torch.utils.data.Dataset[Sample]):
    """The samples of one split.

    Args:
        prepared_root: folder or URI that `sharedris data prepare` wrote to.
        split: in full, `refcoco_unc/testA`.
        image_size: S, the side of images and masks in pixels.
        text_tokens: T.
        horizontal_flip: mirror half of the samples, chosen only by seed, epoch and index.
        seed: of that choice.
        without_images: keys (see `image_keys`) of images whose refs are left out.
        tokenizer_path: a tokenizer to use instead of the set's.

    Raises:
        InputError: when the set is not prepared, the split does not exist or is empty, or a file is unreadable.
    """

    def __init__(
        self,
        prepared_root: str | Path,
        split: str,
        *,
        image_size: int,
        text_tokens: int,
        horizontal_flip: bool = False,
        seed: int = 0,
        without_images: Collection[str] = (),
        tokenizer_path: Path | None = None,
    ) -> None:
        self.split, self.image_size = split, image_size
        self.horizontal_flip, self.seed, self.epoch = horizontal_flip, seed, 0
        set_name, part = parse_split(split)
        self.manifest = load_manifest(prepared_root, set_name)
        self.tokenizer = open_tokenizer(tokenizer_path or self.manifest.tokenizer_path, text_tokens)
        table = read_split(self.manifest, part)
        if without_images:
            table = table.filter(pa.array(~keys_in(image_keys(self.manifest, table), without_images)))
        self._take(table)
        self.images = ImageStore(self.manifest, image_size, self._file_names)

    def _take(self, table: pa.Table) -> None:
        """Keep the columns flat: numbers as numpy, strings and masks as arrow, expressions end to end."""
        table = table.combine_chunks()
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        self._numbers = {name: columns[name].to_numpy() for name in _NUMBERS}
        self._file_names, self._masks = columns["file_name"], columns["mask_rle"]
        self._digests = columns["image_digest"]
        lists = columns["expressions"]
        self._expressions = lists.flatten()
        self._sent_ids = columns["sent_ids"].flatten().to_numpy()
        lengths = np.diff(lists.offsets.to_numpy())
        self._refs = np.repeat(np.arange(len(lists), dtype=np.int32), lengths)

    def __len__(self) -> int:
        return len(self._refs)

    def ref_starts(self) -> np.ndarray:
        """Return the index of the first sample of each ref that has any, int64, rising; its others follow it."""
        return np.flatnonzero(np.diff(self._refs, prepend=-1))

    def unknown_pieces(self) -> UnknownPieces:
        """Count the pieces of all expressions that the tokenizer does not know."""
        return self.tokenizer.unknown_pieces(self._expressions.to_pylist())

    def cut_sentences(self) -> int:
        """Count the expressions of which the model does not read the end, since they have more than T tokens."""
        return sum(self.tokenizer.cuts(sentence) for sentence in self._expressions.to_pylist())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that augmentation depends on."""
        self.epoch = epoch
        self.images.refresh()

    def info(self, index: int) -> SampleInfo:
        """Return what sample `index` is, without reading its image."""
        ref = int(self._refs[index])
        numbers = self._numbers
        return SampleInfo(
            index=index,
            split=self.split,
            image_id=int(numbers["image_id"][ref]),
            file_name=self._file_names[ref].as_py(),
            ref_id=int(numbers["ref_id"][ref]),
            sent_id=int(self._sent_ids[index]),
            expression=self._expressions[index].as_py(),
            height=int(numbers["height"][ref]),
            width=int(numbers["width"][ref]),
            area_ratio=float(numbers["area_ratio"][ref]),
            mask_rle=self._masks[ref].as_py(),
        )

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        info = self.info(index)
        digest = self._digests[int(self._refs[index])].as_py()
        image_CSS = self.images.resized(info.file_name, digest, height=info.height, width=info.width)
        mask_HW = decode_mask(info.mask_rle, height=info.height, width=info.width)
        mask_SS = resize_mask(mask_HW, self.image_size)
        sentence, flipped = info.expression, self._is_flipped(index)
        if flipped:
            image_CSS, mask_SS = image_CSS.flip(2), np.ascontiguousarray(mask_SS[:, ::-1])
            sentence = swap_sides(sentence)
        token_ids_T, padding_T = self.tokenizer.encode(sentence)
        return Sample(
            image_CSS=image_CSS,
            token_ids_T=token_ids_T,
            padding_T=padding_T,
            mask_SS=mask_SS,
            info=info,
            flipped=flipped,
        )

    def _is_flipped(self, index: int) -> bool:
        if not self.horizontal_flip:
            return False
        name = zlib.crc32(self.split.encode())
        return bool(np.random.default_rng([self.seed, self.epoch, index, name]).integers(2))
