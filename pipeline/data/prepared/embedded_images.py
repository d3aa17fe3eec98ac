"""The image files inside a prepared set, each read separately."""

from __future__ import annotations

import pyarrow as pa

from pipeline.data.storage import Place
from sharedris.errors import InputError


class EmbeddedImages:
    """The `images.arrow` of a prepared set: one record batch per image, each read separately."""

    def __init__(self, place: Place) -> None:
        self._place = place
        place.require_regular()
        try:
            source = pa.memory_map(place.path) if place.is_local else place.filesystem.open_input_file(place.path)
            self._reader = pa.ipc.open_file(source)
            names = self._reader.schema.metadata[b"file_names"].decode().split("\n")
        except (OSError, pa.ArrowException, TypeError, KeyError, UnicodeDecodeError) as error:
            raise InputError(f"{place} cannot be read: {error}", "Prepare the set again with --embed-images") from None
        self._batch_of = {name: position for position, name in enumerate(names)}

    def content(self, file_name: str) -> bytes:
        """Return the bytes of an image file.

        Raises:
            InputError: when it is not there or cannot be read.
        """
        try:
            batch = self._reader.get_batch(self._batch_of[file_name])
            batch.validate(full=True)  # offsets in a damaged file point outside of it: reading there ends the process
            content: bytes = batch.column(1)[0].as_py()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise InputError(
                f"{file_name} in {self._place} cannot be read: {error}", "Prepare the set again with --embed-images"
            ) from None
        return content
