"""Training on one or several sets without leakage: no image of any of their val or test splits is trained on."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch

from pipeline.data.dataset.refer_dataset import ReferDataset, Sample
from pipeline.data.prepared.manifest import Manifest, load_manifest
from pipeline.data.prepared.split_table import image_keys, keys_in, read_split
from sharedris.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What was left out of a set's training split because a split that is not train has the image."""

    set: str
    images: int
    refs: int
    expressions: int


class CombinedDataset(torch.utils.data.Dataset[Sample]):
    """Several datasets end to end; `removed` lists what was left out of each."""

    def __init__(self, parts: list[ReferDataset], removed: tuple[Removed, ...] = ()) -> None:
        self.parts, self.removed = parts, removed
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def ref_starts(self) -> np.ndarray:
        """Return the index of the first sample of each ref, int64, rising."""
        before = [0, *self._ends[:-1]]
        return np.concatenate([start + part.ref_starts() for start, part in zip(before, self.parts, strict=True)])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that augmentation depends on."""
        for part in self.parts:
            part.set_epoch(epoch)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        position = bisect.bisect_right(self._ends, index)
        start = self._ends[position - 1] if position else 0
        return self.parts[position][index - start]


def training_dataset(
    prepared_root: str | Path,
    train_sets: tuple[str, ...],
    *,
    image_size: int,
    text_tokens: int,
    horizontal_flip: bool = False,
    seed: int = 0,
    tokenizer_path: Path | None = None,
) -> CombinedDataset:
    """Return the training splits of several sets as one, without the images that any of them holds out.

    A single set is taken as published, even `refcocog_google`, whose splits share images by design.

    Raises:
        InputError: when a set is not prepared, is named twice, has no train split, or reads sentences with another
            tokenizer than the first.
    """
    if len(set(train_sets)) != len(train_sets) or not train_sets:
        raise InputError(f"training sets {', '.join(train_sets) or '(none)'}", "Name each set once")
    manifests = [load_manifest(prepared_root, name) for name in train_sets]
    if tokenizer_path is None:
        _check_tokenizers(manifests)
    held_out = held_out_images(manifests) if len(manifests) > 1 else set()
    parts = [
        ReferDataset(
            prepared_root,
            f"{manifest.set}/train",
            image_size=image_size,
            text_tokens=text_tokens,
            horizontal_flip=horizontal_flip,
            seed=seed,
            without_images=held_out,
            tokenizer_path=tokenizer_path,
        )
        for manifest in manifests
    ]
    removed = tuple(_removed(manifest, held_out) for manifest in manifests) if held_out else ()
    return CombinedDataset(parts, removed)


def held_out_images(manifests: list[Manifest]) -> set[str]:
    """Return the names (ids within families, and digests) of all images in any split that is not train."""
    names: set[str] = set()
    for manifest in manifests:
        for part in manifest.splits:
            if part != "train":
                names.update(name for keys in image_keys(manifest, read_split(manifest, part)) for name in keys)
    return names - {""}


def _removed(manifest: Manifest, held_out: set[str]) -> Removed:
    table = read_split(manifest, "train")
    out = keys_in(image_keys(manifest, table), held_out)
    lost = table.filter(out)
    return Removed(
        set=manifest.set,
        images=len(lost["image_id"].unique()),
        refs=lost.num_rows,
        expressions=len(lost["expressions"].combine_chunks().flatten()),
    )


def _check_tokenizers(manifests: list[Manifest]) -> None:
    first = manifests[0]
    for manifest in manifests[1:]:
        if manifest.tokenizer_fingerprint != first.tokenizer_fingerprint:
            raise InputError(
                f"{first.set} and {manifest.set} were prepared with different tokenizers",
                f"Prepare {manifest.set} again with --tokenizer {first.tokenizer_path}",
            )
