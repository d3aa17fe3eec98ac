"""`sharedris data prepare hf`: parquet of Hugging Face's datasets, with embedded images or without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.prepare_options import PrepareOptions, prepare
from pipeline.data.readers.hf import read_hf


@dataclass(frozen=True, kw_only=True)
class Options(PrepareOptions):
    """The parquet files; --images is for rows without embedded images."""

    folder: tyro.conf.Positional[str]
    """A folder with parquet files, or one of them."""


def run(options: Options) -> int:
    """Prepare the set."""
    return prepare(
        options,
        lambda: read_hf(
            Path(options.folder), options.data, images=options.image_folder, need_images=not options.no_images
        ),
    )
