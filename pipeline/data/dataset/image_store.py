"""Images of a dataset from files or embedded bytes, decoded and resized, and cached if the set is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from pipeline.data.dataset.transforms import decode_image, resize_image
from pipeline.data.prepared.manifest import EMBEDDED, Manifest
from pipeline.data.storage import Place, open_place
from sharedris.errors import InputError

CACHE_BYTES = 256 << 20
"""Most memory for resized images, per process; a split that does not fit is not cached at all."""


class ImageStore:
    """Resized images of one split by file name.

    Args:
        manifest: of the prepared set.
        image_size: S, the side in pixels.
        file_names: column of the split's file names, one per ref.
    """

    def __init__(self, manifest: Manifest, image_size: int, file_names: pa.Array) -> None:
        self.manifest, self.image_size = manifest, image_size
        unique = len(file_names.unique())
        self._cached = unique * 3 * image_size**2 <= CACHE_BYTES
        self._cache: dict[str, torch.Tensor] = {}
        self._embedded: EmbeddedImages | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}, "_embedded": None}

    def resized(self, file_name: str) -> torch.Tensor:
        """Return image_CSS, uint8; never write to it.

        Raises:
            InputError: when the image is not there or does not decode.
        """
        found = self._cache.get(file_name)
        if found is None:
            found = resize_image(decode_image(self.content(file_name), name=file_name), self.image_size)
            if self._cached:
                self._cache[file_name] = found
        return found

    def content(self, file_name: str) -> bytes:
        """Return the bytes of an image file."""
        if self.manifest.embedded:
            if self._embedded is None:
                self._embedded = EmbeddedImages(self.manifest.place / EMBEDDED)
            return self._embedded.content(file_name)
        root = self.manifest.image_root
        try:
            return ((open_place(root) if "://" in root else Path(root)) / file_name).read_bytes()
        except OSError as error:
            remedy = "Copy the images there, or prepare the set again with --images FOLDER or --embed-images"
            raise InputError(f"{root}/{file_name} cannot be read: {error.strerror or error}", remedy) from None


class EmbeddedImages:
    """The `images.arrow` of a prepared set: one record batch per image, each read separately."""

    def __init__(self, place: Place) -> None:
        self._place = place
        try:
            source = pa.memory_map(place.path) if place.is_local else place.filesystem.open_input_file(place.path)
            self._reader = pa.ipc.open_file(source)
            names = self._reader.schema.metadata[b"file_names"].decode().split("\n")
        except (OSError, pa.ArrowException, TypeError, KeyError) as error:
            raise InputError(f"{place} cannot be read: {error}", "Prepare the set again with --embed-images") from None
        self._batch_of = {name: position for position, name in enumerate(names)}

    def content(self, file_name: str) -> bytes:
        """Return the bytes of an image file.

        Raises:
            InputError: when it is not there or cannot be read.
        """
        try:
            content: bytes = self._reader.get_batch(self._batch_of[file_name]).column(1)[0].as_py()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise InputError(
                f"{file_name} in {self._place} cannot be read: {error}", "Prepare the set again with --embed-images"
            ) from None
        return content
