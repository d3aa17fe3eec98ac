"""Images of a dataset from files or embedded bytes, verified, decoded and resized, and cached if the set is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipeline.data.dataset.verified_images import VerifiedImages
from pipeline.data.prepared.embedded_images import EmbeddedImages
from pipeline.data.prepared.manifest import EMBEDDED, Manifest
from pipeline.data.readers.images import content_digest, read_image_file
from pipeline.data.storage import file_stamp, open_place
from sharedris.errors import InputError
from sharedris.image_input import resize_image
from sharedris.pixels import decode_image
from sharedris.regular_file import UnreadableFileError

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
        self._root = manifest.images
        self._verified = VerifiedImages(manifest)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}, "_embedded": None}

    def refresh(self) -> None:
        """Take note of the images that other processes have verified by now."""
        self._verified.refresh()

    def resized(self, file_name: str, digest: str, *, height: int, width: int) -> torch.Tensor:
        """Return image_CSS, uint8; never write to it.

        Args:
            file_name: as in the rows of the split.
            digest: of the file's bytes at preparation; empty where the set was prepared without reading images.
            height: of the image as prepared, in pixels; its masks have it.
            width: likewise.

        Raises:
            InputError: when the image is not there, is not the one that was prepared, does not decode, or has another
                size than its masks.
        """
        found = self._cache.get(file_name)
        if found is None:
            stamp = self._stamp(file_name)  # before reading: a later state must not be taken for this one
            content = self.content(file_name)
            if digest and not self._verified.has(digest, stamp):
                self._verify(file_name, content, digest)
                self._verified.add(digest, stamp)
            image_HWC = decode_image(content, name=file_name)
            _require_size(image_HWC, height, width, file_name)
            found = resize_image(image_HWC, self.image_size)
            if self._cached:
                self._cache[file_name] = found
        return found

    def content(self, file_name: str) -> bytes:
        """Return the bytes of an image file."""
        if self.manifest.embedded:
            if self._embedded is None:
                self._embedded = EmbeddedImages(self.manifest.place / EMBEDDED)
            return self._embedded.content(file_name)
        root = self._root
        if "://" in root:
            return (open_place(root) / file_name).read_bytes()
        try:
            return read_image_file(Path(root), file_name)
        except UnreadableFileError as error:
            remedy = "Copy the images there, or prepare the set again with --images FOLDER or --embed-images"
            raise InputError(error.message, remedy) from None

    def _verify(self, file_name: str, content: bytes, digest: str) -> None:
        if content_digest(content) != digest:
            place = self.manifest.place / EMBEDDED if self.manifest.embedded else self._root
            raise InputError(
                f"{place}/{file_name} is not the image that was prepared: its bytes have changed",
                "Restore the file, or prepare the set again",
            )

    def _stamp(self, file_name: str) -> str:
        """Return the state of the file that holds an image; empty where it must be compared each time."""
        if self.manifest.embedded:
            place = self.manifest.place / EMBEDDED
            return place.stamp() if place.is_local else ""
        return "" if "://" in self._root else file_stamp(Path(self._root) / file_name)


def _require_size(image_HWC: np.ndarray, height: int, width: int, file_name: str) -> None:
    """Refuse an image that its masks do not fit: it was not read at preparation, or version 0.1 did not turn it."""
    if image_HWC.shape[:2] != (height, width):
        raise InputError(
            f"{file_name} is {image_HWC.shape[0]} x {image_HWC.shape[1]} pixels, its masks {height} x {width}",
            "Prepare the set again",
        )
