"""`sharedris data prepare custom`: own data in JSON Lines or CSV, or in a form that a plugin reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.prepare_options import PrepareOptions, prepare
from pipeline.data.readers.registry import read_annotations


@dataclass(frozen=True, kw_only=True)
class Options(PrepareOptions):
    """The annotation file."""

    annotations: str
    """A .jsonl or .csv file, a ref per line; its images are below its folder."""
    reader: str = "lines"
    """Reader of the file; a plugin adds more."""


def run(options: Options) -> int:
    """Prepare the set."""
    path = Path(options.annotations)
    return prepare(
        options, lambda: read_annotations(path, options.data, reader=options.reader, images=options.image_folder)
    )
