"""Readers of annotation files by name: `sharedris data prepare custom --reader NAME`, and the same for `check`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.data.readers.annotations import Source
from pipeline.data.readers.custom import read_custom
from pipeline.data.readers.hf import read_hf
from sharedris.errors import InputError
from sharedris.registry import suggestion

READERS: dict[str, Callable[..., Source]] = {"lines": read_custom, "hf": read_hf}
"""(annotation file, set name, images=folder or None) -> Source. `lines` reads JSON Lines and CSV, `hf` parquet."""


def read_annotations(path: Path, set_name: str, *, reader: str, images: Path | None) -> Source:
    """Return a set as the named reader reads it.

    Raises:
        InputError: for an unknown reader, a file that cannot be read, or a reader that returns something else.
    """
    if reader not in READERS:
        raise InputError(f"unknown reader {reader!r}{suggestion(reader, READERS)}", "Give --reader one of them")
    source = READERS[reader](path, set_name, images=images)
    if not isinstance(source, Source):
        raise InputError(f"reader {reader!r} returns a {type(source).__name__}, not a Source", "Correct the reader")
    return source
